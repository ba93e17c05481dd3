import { status } from '@grpc/grpc-js';
import { RpcError } from '../../runtime/rpc/errors';
import { TokenError, verifyAccessToken } from '../tokens/access-token';
import type { AccessToken } from '../tokens/access-token';
import type { TokenKeys } from '../tokens/keys';
import type { Sessions } from './sessions';
import { dateOf } from '../../runtime/clock';
import type { Clock } from '../../runtime/clock';
import type { CallContext } from '../../runtime/rpc/call';

const BEARER = /^Bearer ([\x21-\x7e]+)$/i;

interface TokenChecks {
  readonly tokenKeys: TokenKeys;
  trustDomain: string;
  sessions: Sessions;
  clock: Clock;
}

/**
 * Checks an access token, and that its session has not ended meanwhile.
 * @throws RpcError UNAUTHENTICATED login.token_invalid, login.session_ended
 */
export async function authenticateToken(
  { tokenKeys, trustDomain, sessions, clock }: TokenChecks,
  token: string,
): Promise<AccessToken> {
  const context = { trustDomain, now: dateOf(clock) };
  const access = await verifyAccessToken(tokenKeys, token, context).catch((error: unknown) => {
    if (error instanceof TokenError)
      throw new RpcError('login.token_invalid', status.UNAUTHENTICATED, error.message, { cause: error });
    throw error;
  });
  await sessions.requireLive(access);
  return access;
}

/** A call that says who makes it. */
type BearerCall = Pick<CallContext, 'metadata' | 'user' | 'takeTurnOf'>;

/**
 * Who calls, by "authorization: Bearer TOKEN" (RFC 6750, 2.1).
 * The call is about them from then on. @throws RpcError UNAUTHENTICATED login.token_missing, and as `authenticateToken`
 */
export async function authenticateBearer(checks: TokenChecks, call: BearerCall): Promise<AccessToken> {
  const values = call.metadata.get('authorization');
  const [, token] = (values.length === 1 && typeof values[0] === 'string' && BEARER.exec(values[0])) || [];
  if (token === undefined) {
    throw new RpcError(
      'login.token_missing',
      status.UNAUTHENTICATED,
      'expected one access token: authorization: Bearer TOKEN',
    );
  }
  const access = await authenticateToken(checks, token);
  call.user = access.user;
  await call.takeTurnOf(access.user);
  return access;
}
