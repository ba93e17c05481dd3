import { status } from '@grpc/grpc-js';
import type { Account } from '../../core/accounts/accounts';
import type { AccountBackend } from '../../core/accounts/backend';
import { isPasswordOf } from '../../core/accounts/password';
import { requireSecondFactor } from '../../core/accounts/second-factor';
import { recordAudit } from '../../core/audit/audit';
import { logger } from '../../core/log/logger';
import { checkNewPassword } from '../../core/passwords/rules';
import { RpcError } from '../../core/rpc/errors';
import type { CallContext } from '../../core/rpc/handlers';
import { authenticateBearer } from '../../core/sessions/bearer';
import { revokeSessions } from '../../core/sessions/sessions';
import type { AccessToken } from '../../core/tokens/access-token';
import type { ChangePasswordRequest, ChangePasswordResponse } from '../../proto/gen/licensing/v1/account';

/** A password that was given this lately need not be given again. */
const FRESH_SECONDS = 300;

function wrong(message: string): RpcError {
  return new RpcError('login.wrong_credentials', status.UNAUTHENTICATED, message);
}

export interface Confirmed extends AccessToken {
  account: Account;
}

/**
 * Who calls, and that they know the account's password: for what a stolen access token must not do.
 * @throws RpcError as authenticateBearer; UNAUTHENTICATED login.wrong_credentials; RESOURCE_EXHAUSTED login.limited
 */
export async function confirmPassword(backend: AccountBackend, password: string, { metadata, signal }: CallContext, what = 'password'): Promise<Confirmed> {
  const caller = await authenticateBearer(backend, metadata);
  const account = await accountOf(backend, caller);
  if (!(await isPasswordOf(backend, caller, account, password, signal))) throw wrong(`the ${what} is wrong`);
  return { ...caller, account };
}

async function freshlyLoggedIn(backend: AccountBackend, { metadata }: CallContext): Promise<Confirmed> {
  const caller = await authenticateBearer(backend, metadata);
  if (Date.now() / 1000 - caller.authenticatedAt >= FRESH_SECONDS) throw wrong('expected the old password');
  return { ...caller, account: await accountOf(backend, caller) };
}

async function accountOf({ accounts }: AccountBackend, { user }: AccessToken): Promise<Account> {
  const account = await accounts.findById(user);
  if (!account) throw wrong('the account is gone');
  return account;
}

/**
 * Changes a password and ends all other sessions: whoever had the old one is out.
 * @throws RpcError as confirmPassword, checkNewPassword and requireSecondFactor; ABORTED account.password_raced
 */
export async function changePassword(
  backend: AccountBackend,
  { oldPassword, newPassword, oneTimeCode }: ChangePasswordRequest,
  context: CallContext,
): Promise<ChangePasswordResponse> {
  const { hasher, database } = backend;
  const { signal } = context;
  const { user, session, account } = oldPassword === '' ? await freshlyLoggedIn(backend, context) : await confirmPassword(backend, oldPassword, context, 'old password');
  await checkNewPassword(newPassword, [account.username]);
  // Last of what may be refused: a code is good once.
  await requireSecondFactor(backend, user, oneTimeCode, session);
  const passwordHash = await hasher.hash(newPassword, signal);
  const ended = await database.transaction(async (queries) => {
    // First the account: a login by the old password waits here, or is among the sessions that end.
    const changed = await queries.query('UPDATE accounts SET password_hash = $2 WHERE id = $1 AND password_hash = $3 RETURNING id', [
      user,
      passwordHash,
      account.passwordHash,
    ]);
    if (changed.length === 0) throw new RpcError('account.password_raced', status.ABORTED, 'the password was changed at this moment by another call');
    await recordAudit(queries, { kind: 'account.password_changed', detail: { user, session } });
    return revokeSessions(queries, user, { except: session }, 'password');
  });
  logger.info({ user, session, ended }, 'password changed');
  return { ended };
}
