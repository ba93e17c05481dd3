import { status } from '@grpc/grpc-js';
import type { AccountBackend } from '../../core/accounts/backend';
import { recordAudit } from '../../core/audit/audit';
import { logger } from '../../core/log/logger';
import { checkNewPassword } from '../../core/passwords/rules';
import { RpcError } from '../../core/rpc/errors';
import type { CallContext } from '../../core/rpc/handlers';
import { authenticateBearer } from '../../core/sessions/bearer';
import { revokeSessions } from '../../core/sessions/sessions';
import type { ChangePasswordRequest, ChangePasswordResponse } from '../../proto/gen/licensing/v1/account';

/** A password that was given this lately need not be given again. */
const FRESH_SECONDS = 300;

function wrong(message: string): RpcError {
  return new RpcError('login.wrong_credentials', status.UNAUTHENTICATED, message);
}

/**
 * Changes a password and ends all other sessions: whoever had the old one is out.
 * @throws RpcError as authenticateBearer and checkNewPassword; UNAUTHENTICATED login.wrong_credentials; RESOURCE_EXHAUSTED login.limited; ABORTED account.password_raced
 */
export async function changePassword(
  backend: AccountBackend,
  { oldPassword, newPassword }: ChangePasswordRequest,
  { metadata, signal }: CallContext,
): Promise<ChangePasswordResponse> {
  const { user, session, authenticatedAt } = await authenticateBearer(backend, metadata);
  const { accounts, hasher, limits, database } = backend;
  const account = await accounts.findById(user);
  if (!account) throw wrong('the account is gone');
  if (oldPassword === '') {
    if (Date.now() / 1000 - authenticatedAt >= FRESH_SECONDS) throw wrong('expected the old password');
  } else {
    const attempt = await limits.passwordAttempt(user, '', session);
    if (!(await hasher.verify(oldPassword, account.passwordHash, signal))) throw wrong('the old password is wrong');
    await attempt.succeeded();
  }
  await checkNewPassword(newPassword, [account.username]);
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
