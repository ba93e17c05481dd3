import { status } from '@grpc/grpc-js';
import type { AccountBackend } from '../../licensing/accounts/backend';
import {
  deleteAccount,
  findDeletion,
  forgetDeletions,
  pendingDeletions,
  removeEnclavesOf,
} from '../../licensing/accounts/deletion';
import { requesterOf, requirePassword } from '../../licensing/accounts/password';
import { requireSecondFactor } from '../../licensing/accounts/second-factor';
import type { EnclaveRegistry } from '../../licensing/enclaves/enclaves';
import { RpcError } from '../../runtime/rpc/errors';
import { unary } from '../../runtime/rpc/handlers';
import { authenticateBearer } from '../../licensing/sessions/bearer';
import type { Database } from '../../licensing/store/database';
import type { AccountDeletionServiceServer } from '../../proto/gen/licensing/v1/account';
import type { Launcher } from './launcher/launcher';
import { every, systemClock } from '../../runtime/clock';
import type { Clock } from '../../runtime/clock';
import { silent } from '../../runtime/log/log';
import type { Logger } from '../../runtime/log/log';
import type { Implementation } from '../../runtime/rpc/handlers';

interface DeletionOptions {
  backend: AccountBackend;
  launcher: Launcher;
}

/**
 * AccountDeletionService. The account goes in one transaction, and from then on nobody logs in and no client connects; its enclaves go next. Whatever
 * ends this in between, `finishDeletions` goes on with it.
 */
export function accountDeletionService({
  backend,
  launcher,
}: DeletionOptions): Implementation<AccountDeletionServiceServer> {
  const { database, accounts } = backend;
  return {
    deleteAccount: unary(async ({ password, oneTimeCode }, context) => {
      const caller = await authenticateBearer(backend, context);
      const { user, session } = caller;
      const account = await accounts.findById(user);
      // Another call deletes it at this moment.
      if (!account) throw new RpcError('login.session_ended', status.UNAUTHENTICATED, 'the session has ended');
      await requirePassword(backend, caller, account, password, {
        requester: requesterOf(backend.clientOf(context, ''), context.signal),
      });
      await requireSecondFactor(backend, user, oneTimeCode, session);
      const deleted = await deleteAccount(
        database,
        user,
        { kind: 'account.deleted', detail: { user } },
        account.passwordHash,
      );
      // Of two calls at once one deletes it; both are told that it is.
      if (!deleted && !(await findDeletion(database, user))) {
        throw new RpcError(
          'account.password_raced',
          status.ABORTED,
          'the password was changed at this moment by another call',
        );
      }
      context.log.info({ user }, 'account deleted');
      return { enclavesRemoved: await removeEnclavesOf(database, user, () => launcher.removeAll(user), context.log) };
    }),
  };
}

/** Ends what others began and did not end: deletions of users and of single enclaves. Any number of replicas may do it at once. */
export async function finishDeletions(
  database: Database,
  enclaves: EnclaveRegistry,
  launcher: Launcher,
  log: Logger = silent,
): Promise<void> {
  for (const user of await pendingDeletions(database))
    await removeEnclavesOf(database, user, () => launcher.removeAll(user), log);
  for (const enclave of await enclaves.abandonedDeletions()) {
    await enclaves
      .resumeDeletion(enclave, (id) => launcher.remove(id))
      .catch((err: unknown) => log.error({ err, user: enclave.user }, 'an enclave is not removed yet'));
  }
  await forgetDeletions(database);
}

const FINISH_MS = 60_000;

/** Does `finishDeletions` now and every minute. @returns what ends that */
export function keepFinishingDeletions(
  database: Database,
  enclaves: EnclaveRegistry,
  launcher: Launcher,
  { log = silent, clock = systemClock }: { log?: Logger; clock?: Clock } = {},
): () => void {
  const finish = (): void => {
    finishDeletions(database, enclaves, launcher, log).catch((err: unknown) =>
      log.warn({ err }, 'unfinished deletions were not looked for'),
    );
  };
  finish();
  const timer = every(clock, FINISH_MS, finish);
  return () => timer.cancel();
}
