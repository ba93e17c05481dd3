import { status } from '@grpc/grpc-js';
import type { Account } from '../../licensing/accounts/accounts';
import type { AccountBackend } from '../../licensing/accounts/backend';
import { isFresh, requesterOf, requirePassword } from '../../licensing/accounts/password';
import { requireSecondFactor } from '../../licensing/accounts/second-factor';
import { recordAudit } from '../../licensing/audit/audit';
import { checkNewPassword } from '../../licensing/passwords/rules';
import { RpcError } from '../../runtime/rpc/errors';
import type { CallContext } from '../../runtime/rpc/handlers';
import { authenticateBearer } from '../../licensing/sessions/bearer';
import { endOtherSessions } from '../../licensing/sessions/sessions';
import type { AccessToken } from '../../licensing/tokens/access-token';
import type { ChangePasswordRequest, ChangePasswordResponse } from '../../proto/gen/licensing/v1/account';

function wrong(message: string): RpcError {
  return new RpcError('login.wrong_credentials', status.UNAUTHENTICATED, message);
}

interface Confirmed extends AccessToken {
  account: Account;
}

/**
 * Who calls, and that they know the account's password: for what a stolen access token must not do.
 * @throws RpcError as authenticateBearer and requirePassword
 */
export async function confirmPassword(
  backend: AccountBackend,
  password: string,
  context: CallContext,
): Promise<Confirmed> {
  const caller = await authenticateBearer(backend, context);
  const account = await accountOf(backend, caller);
  await requirePassword(backend, caller, account, password, {
    requester: requesterOf(backend.clientOf(context, ''), context.signal),
  });
  return { ...caller, account };
}

export async function accountOf({ accounts }: AccountBackend, { user }: AccessToken): Promise<Account> {
  const account = await accounts.findById(user);
  if (!account) throw wrong('the account is gone');
  return account;
}

/**
 * Changes a password and ends all other sessions: whoever had the old one is out.
 * @throws RpcError as authenticateBearer, requirePassword, checkNewPassword and requireSecondFactor; ABORTED account.password_raced; FAILED_PRECONDITION account.no_password: who logs in by
 * an OpenID provider gets no second way in, past what the provider demands
 */
export async function changePassword(
  backend: AccountBackend,
  { oldPassword, newPassword, oneTimeCode }: ChangePasswordRequest,
  context: CallContext,
): Promise<ChangePasswordResponse> {
  const { hasher, database } = backend;
  const requester = requesterOf(backend.clientOf(context, ''), context.signal);
  const caller = await authenticateBearer(backend, context);
  const { user, session } = caller;
  const account = await accountOf(backend, caller);
  const { passwordHash: oldHash } = account;
  if (oldHash === undefined)
    throw new RpcError(
      'account.no_password',
      status.FAILED_PRECONDITION,
      'the account has no password: its user logs in by OIDC',
    );
  if (oldPassword !== '')
    await requirePassword(backend, caller, account, oldPassword, { requester, what: 'old password' });
  else if (!isFresh(caller, backend.clock)) throw wrong('expected the old password');
  await checkNewPassword(hasher, newPassword, [account.username], requester);
  // Last of what may be refused: a code is good once.
  await requireSecondFactor(backend, user, oneTimeCode, session);
  const passwordHash = await hasher.hash(newPassword, requester);
  const { ended, refreshToken, refreshTokenExpiresAt } = await database.transaction(async (queries) => {
    // First the account: a login by the old password waits here, or is among the sessions that end.
    const changed = await queries.query(
      'UPDATE accounts SET password_hash = $2 WHERE id = $1 AND password_hash = $3 RETURNING id',
      [user, passwordHash, oldHash],
    );
    if (changed.length === 0)
      throw new RpcError(
        'account.password_raced',
        status.ABORTED,
        'the password was changed at this moment by another call',
      );
    await recordAudit(queries, { kind: 'account.password_changed', detail: { user, session } });
    return endOtherSessions(queries, caller, 'password');
  });
  context.log.info({ user, session, ended }, 'password changed');
  return { ended, refreshToken, refreshTokenExpiresAt: BigInt(refreshTokenExpiresAt) };
}
