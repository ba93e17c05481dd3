import { status } from '@grpc/grpc-js';
import type { AccountBackend } from '../../licensing/accounts/backend';
import { isUuid } from '../../attestation/bytes/uuid';
import { RpcError } from '../../runtime/rpc/errors';
import type { CallContext } from '../../runtime/rpc/handlers';
import { toUnixSeconds } from '../../runtime/rpc/unix-time';
import { callerOf } from '../../licensing/sessions/bearer';
import { issueAccessToken } from '../../licensing/tokens/access-token';
import type {
  ListSessionsResponse,
  LogOutRequest,
  LogOutResponse,
  RefreshRequest,
  RefreshResponse,
  RevokeSessionRequest,
  RevokeSessionResponse,
} from '../../proto/gen/licensing/v1/account';

/**
 * Exchanges a refresh token for new tokens.
 * @throws RpcError as Sessions.check and Sessions.rotate
 */
export async function refresh(
  backend: AccountBackend,
  request: RefreshRequest,
  context: CallContext,
): Promise<RefreshResponse> {
  const { sessions, tokenKeys, trustDomain } = backend;
  const { user, session, authenticatedAt } = await sessions.check(request.refreshToken);
  const { refreshToken, refreshTokenExpiresAt, generation } = await sessions.rotate(
    request.refreshToken,
    backend.clientOf(context, request.clientName),
  );
  const { token, expiresAt } = await issueAccessToken(
    tokenKeys,
    { user, session, authenticatedAt, generation },
    { trustDomain },
  );
  return {
    accessToken: token,
    expiresAt: BigInt(expiresAt),
    refreshToken,
    refreshTokenExpiresAt: BigInt(refreshTokenExpiresAt),
  };
}

/** Ends the session of a refresh token, or all sessions of its user. @throws RpcError as Sessions.check */
export async function logOut(
  { sessions }: AccountBackend,
  { refreshToken, all }: LogOutRequest,
): Promise<LogOutResponse> {
  const { user, session } = await sessions.check(refreshToken);
  return { ended: await sessions.revoke(user, all ? {} : { session }, 'logout') };
}

export async function listSessions(backend: AccountBackend, context: CallContext): Promise<ListSessionsResponse> {
  const { user, session: own } = callerOf(context);
  const sessions = (await backend.sessions.list(user)).map(({ session, createdAt, lastUsedAt, client }) => ({
    session,
    createdAt: toUnixSeconds(createdAt),
    lastUsedAt: toUnixSeconds(lastUsedAt),
    clientName: client.name,
    clientAddress: client.address,
    current: session === own,
  }));
  return { sessions };
}

/** Ends one session of the caller's own user. @throws RpcError NOT_FOUND session.not_found */
export async function revokeSession(
  backend: AccountBackend,
  { session }: RevokeSessionRequest,
  context: CallContext,
): Promise<RevokeSessionResponse> {
  const { user } = callerOf(context);
  const ended = isUuid(session) ? await backend.sessions.revoke(user, { session }, 'user') : 0;
  // One answer for another user's session and for none.
  if (ended === 0)
    throw new RpcError('session.not_found', status.NOT_FOUND, 'there is no such session, or it has ended');
  return {};
}
