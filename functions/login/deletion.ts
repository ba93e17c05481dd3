import type { AccountBackend } from '../../licensing/accounts/backend';
import {
  deleteAccount,
  findDeletion,
  forgetDeletions,
  pendingDeletions,
  removeEnclavesOf,
} from '../../licensing/accounts/deletion';
import { holdAccount } from '../../licensing/accounts/hold';
import { confirmCaller } from '../../licensing/accounts/password';
import { requireSecondFactor } from '../../licensing/accounts/second-factor';
import type { EnclaveRegistry } from '../../licensing/enclaves/enclaves';
import { unary } from '../../runtime/rpc/handlers';
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
  const { database } = backend;
  return {
    deleteAccount: unary(async (request, context) => {
      const { shown, session } = await confirmCaller(backend, request, context);
      const { user } = shown;
      const secondFactor = await requireSecondFactor(backend, user, request.oneTimeCode, session);
      await deleteAccount(database, user, { kind: 'account.deleted', detail: { user } }, (queries) =>
        holdAccount(queries, { ...shown, secondFactor }),
      ).catch(async (error: unknown) => {
        // Of two calls at once one deletes it; both are told that it is.
        if (!(await findDeletion(database, user))) throw error;
      });
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
