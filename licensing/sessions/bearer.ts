import { status } from '@grpc/grpc-js';
import { RpcError } from '../../runtime/rpc/errors';
import { TokenError, verifyAccessToken } from '../tokens/access-token';
import type { AccessToken } from '../tokens/access-token';
import type { TokenKeys } from '../tokens/keys';
import type { SessionAccount, Sessions } from './sessions';
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

/** Who calls, as it was when the call began. */
export interface Caller extends AccessToken {
  account: SessionAccount;
}

/**
 * Checks an access token, and that its account and session are alive.
 * @throws RpcError UNAUTHENTICATED login.token_invalid, login.session_ended, login.revoked
 */
export async function authenticateToken(
  { tokenKeys, trustDomain, sessions, clock }: TokenChecks,
  token: string,
): Promise<Caller> {
  const context = { trustDomain, now: dateOf(clock) };
  const access = await verifyAccessToken(tokenKeys, token, context).catch((error: unknown) => {
    if (error instanceof TokenError)
      throw new RpcError('login.token_invalid', status.UNAUTHENTICATED, error.message, { cause: error });
    throw error;
  });
  return { ...access, account: await sessions.requireAlive(access) };
}

/**
 * Who calls, by "authorization: Bearer TOKEN" (RFC 6750, 2.1).
 * The call is about them from then on. @throws RpcError UNAUTHENTICATED login.token_missing, and as `authenticateToken`
 */
export async function authenticateBearer(
  checks: TokenChecks,
  call: Pick<CallContext, 'metadata' | 'user' | 'takeTurnOf'>,
): Promise<Caller> {
  const values = call.metadata.get('authorization');
  const [, token] = (values.length === 1 && typeof values[0] === 'string' && BEARER.exec(values[0])) || [];
  if (token === undefined) {
    throw new RpcError(
      'login.token_missing',
      status.UNAUTHENTICATED,
      'expected one access token: authorization: Bearer TOKEN',
    );
  }
  const caller = await authenticateToken(checks, token);
  call.user = caller.user;
  await call.takeTurnOf(caller.user);
  return caller;
}

/** What a server does, before anything else, with each call whose rule (runtime/rpc/rules.ts) says `access token`. */
export function bearerAuthentication(checks: TokenChecks): (call: CallContext) => Promise<void> {
  return async (call) => {
    call.caller = await authenticateBearer(checks, call);
  };
}

/** Who calls a method that is for access tokens. @throws Error for any other method: a mistake of the program's */
export function callerOf(call: CallContext): Caller {
  if (!call.caller) throw new Error(`${call.method} is not for access tokens by its rule`);
  return call.caller as Caller;
}
