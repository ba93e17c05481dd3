import { status } from '@grpc/grpc-js';
import { countAttempt } from '../limits/limits';
import type { Requester } from '../passwords/threads';
import { RpcError } from '../../runtime/rpc/errors';
import { subscriberOf } from '../../runtime/rpc/peer';
import type { AccessToken } from '../tokens/access-token';
import type { Account } from './accounts';
import type { AccountBackend } from './backend';
import type { ClientDetails } from '../sessions/client-details';
import type { Clock } from '../../runtime/clock';

/** A login this lately need not be shown again where a password is not to be had. */
const FRESH_SECONDS = 300;

/** True of a session that began a moment ago, by a password or by an OpenID provider. */
export function isFresh({ authenticatedAt }: Pick<AccessToken, 'authenticatedAt'>, clock: Clock): boolean {
  return clock.now() / 1000 - authenticatedAt < FRESH_SECONDS;
}

/** For whom a password is hashed or judged: those who wait take turns by where they are. */
export function requesterOf({ address }: Pick<ClientDetails, 'address'>, signal?: AbortSignal): Requester {
  return { signal, owner: subscriberOf(address) };
}

/**
 * Demands the caller's password, who has a session already: for what a stolen access token must not do. Of an account that has none, a session that began just now
 * says the same.
 * @param what the password is called in a refusal
 * @throws RpcError UNAUTHENTICATED login.wrong_credentials, account.login_not_fresh; RESOURCE_EXHAUSTED login.limited, login.busy
 */
export async function requirePassword(
  { limits, hasher, clock }: Pick<AccountBackend, 'limits' | 'hasher' | 'clock'>,
  caller: Pick<AccessToken, 'user' | 'session' | 'authenticatedAt'>,
  { passwordHash }: Pick<Account, 'passwordHash'>,
  password: string,
  { requester, what = 'password' }: { requester: Requester; what?: string },
): Promise<void> {
  if (passwordHash === undefined) {
    if (isFresh(caller, clock)) return;
    throw new RpcError(
      'account.login_not_fresh',
      status.UNAUTHENTICATED,
      `expected a login of the last ${FRESH_SECONDS / 60} minutes, because the account has no password`,
    );
  }
  if (
    !(await countAttempt(await limits.passwordAttempt(caller.user, '', caller.session), () =>
      hasher.verify(password, passwordHash, requester),
    ))
  ) {
    throw new RpcError('login.wrong_credentials', status.UNAUTHENTICATED, `the ${what} is wrong`);
  }
}
