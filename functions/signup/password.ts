import { status } from '@grpc/grpc-js';
import type { AccountBackend } from '../../licensing/accounts/backend';
import { holdAccount } from '../../licensing/accounts/hold';
import { linkedIdentities, unbindIdentities } from '../../licensing/accounts/identities';
import type { LinkedIdentity } from '../../licensing/accounts/identities';
import { confirmCaller, requesterOf } from '../../licensing/accounts/password';
import { requireSecondFactor } from '../../licensing/accounts/second-factor';
import { recordAudit } from '../../licensing/audit/audit';
import { checkNewPassword } from '../../licensing/passwords/rules';
import { RpcError } from '../../runtime/rpc/errors';
import type { CallContext } from '../../runtime/rpc/handlers';
import { toUnixSeconds } from '../../runtime/rpc/unix-time';
import { callerOf } from '../../licensing/sessions/bearer';
import { endOtherSessions } from '../../licensing/sessions/sessions';
import { issueAccessToken } from '../../licensing/tokens/access-token';
import { unixSecondsOf } from '../../runtime/clock';
import type {
  ChangePasswordRequest,
  ChangePasswordResponse,
  LinkedIdentity as LinkedIdentityMessage,
} from '../../proto/gen/licensing/v1/account';

const toMessage = ({ issuer, linkedAt }: LinkedIdentity): LinkedIdentityMessage => ({
  issuer,
  linkedAt: toUnixSeconds(linkedAt),
});

/**
 * Changes a password and ends all other sessions: whoever had the old one is out. The old one is demanded however lately the session began: else whoever has
 * an access token for its minutes would have the account for good.
 * @throws RpcError as confirmCaller, checkNewPassword, requireSecondFactor and holdAccount; FAILED_PRECONDITION account.no_password: who logs in by
 * an OpenID provider gets no second way in, past what the provider demands
 */
export async function changePassword(
  backend: AccountBackend,
  { oldPassword, newPassword, oneTimeCode, unlinkIdentities }: ChangePasswordRequest,
  context: CallContext,
): Promise<ChangePasswordResponse> {
  const { hasher, database, tokenKeys, trustDomain, clock } = backend;
  const caller = callerOf(context);
  const { user, session } = caller;
  if (caller.account.passwordHash === undefined)
    throw new RpcError(
      'account.no_password',
      status.FAILED_PRECONDITION,
      'the account has no password: its user logs in by OIDC',
    );
  const { account, shown } = await confirmCaller(backend, { password: oldPassword }, context, 'old password');
  const requester = requesterOf(backend.clientOf(context, ''), context.signal);
  await checkNewPassword(hasher, newPassword, [account.username], requester);
  // Last of what may be refused: a code is good once.
  const secondFactor = await requireSecondFactor(backend, user, oneTimeCode, session);
  const passwordHash = await hasher.hash(newPassword, requester);
  const authenticatedAt = unixSecondsOf(clock);
  const changed = await database.transaction(async (queries) => {
    // A login by the old password waits here, or is among the sessions that end. Whatever else began by it is refused when it comes here.
    await holdAccount(queries, { ...shown, secondFactor });
    await queries.query('UPDATE accounts SET password_hash = $2 WHERE id = $1', [user, passwordHash]);
    await recordAudit(queries, { kind: 'account.password_changed', detail: { user, session } });
    const unlinked = unlinkIdentities ? await unbindIdentities(queries, user) : [];
    return {
      unlinked,
      linked: await linkedIdentities(queries, user),
      ...(await endOtherSessions(queries, caller, 'password')),
    };
  });
  const { ended, refreshToken, refreshTokenExpiresAt, generation, linked, unlinked } = changed;
  context.log.info({ user, session, ended }, 'password changed');
  const { token, expiresAt } = await issueAccessToken(
    tokenKeys,
    { user, session, authenticatedAt, generation },
    { trustDomain },
  );
  return {
    ended,
    refreshToken,
    refreshTokenExpiresAt: BigInt(refreshTokenExpiresAt),
    accessToken: token,
    accessTokenExpiresAt: BigInt(expiresAt),
    linked: linked.map(toMessage),
    unlinked: unlinked.map(toMessage),
  };
}
