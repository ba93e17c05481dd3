import { status } from '@grpc/grpc-js';
import { countAttempt } from '../limits/limits';
import type { Requester } from '../passwords/threads';
import { RpcError } from '../../runtime/rpc/errors';
import { subscriberOf } from '../../runtime/rpc/peer';
import { callerOf } from '../sessions/bearer';
import type { Caller } from '../sessions/bearer';
import type { SessionAccount } from '../sessions/sessions';
import type { AccountBackend } from './backend';
import type { ClientDetails } from '../sessions/client-details';
import type { CallContext } from '../../runtime/rpc/call';
import type { Shown } from './hold';

/** So lately a session has to have begun to be shown in place of a password that there is none of. */
const FRESH_SECONDS = 300;

/** For whom a password is hashed or judged: those who wait take turns by where they are. */
export function requesterOf({ address }: Pick<ClientDetails, 'address'>, signal?: AbortSignal): Requester {
  return { signal, owner: subscriberOf(address) };
}

/** What a request shows besides its access token. */
interface Confirmation {
  password: string;
  /** For an account without a password. */
  refreshToken?: string;
}

interface Confirmed {
  session: string;
  account: SessionAccount;
  /** For `holdAccount`, in the transaction that acts by it. */
  shown: Shown;
}

/**
 * Demands the caller's password: for what a stolen access token must not do. Of an account that has none, the caller shows a session that began at the
 * OpenID provider just now, and by its refresh token: whoever has its access token alone has not shown that.
 * @param what the password is called in a refusal
 * @throws RpcError UNAUTHENTICATED login.wrong_credentials, account.login_not_fresh; RESOURCE_EXHAUSTED login.limited, login.busy
 */
export async function confirmCaller(
  backend: AccountBackend,
  { password, refreshToken = '' }: Confirmation,
  context: CallContext,
  what = 'password',
): Promise<Confirmed> {
  const caller = callerOf(context);
  const { user, session, account } = caller;
  if (account.passwordHash === undefined) await requireFreshSession(backend, caller, refreshToken);
  else {
    const { passwordHash } = account;
    const requester = requesterOf(backend.clientOf(context, ''), context.signal);
    const attempt = await backend.limits.passwordAttempt(user, '', session);
    if (!(await countAttempt(attempt, () => backend.hasher.verify(password, passwordHash, requester))))
      throw new RpcError('login.wrong_credentials', status.UNAUTHENTICATED, `the ${what} is wrong`);
  }
  return { session, account, shown: { user, caller, passwordHash: account.passwordHash ?? null } };
}

async function requireFreshSession(
  { sessions, clock }: AccountBackend,
  { user, session, authenticatedAt }: Caller,
  refreshToken: string,
): Promise<void> {
  const known = refreshToken === '' ? undefined : await sessions.recognize(refreshToken);
  const isOwn = known?.user === user && known.session === session;
  if (isOwn && clock.now() / 1000 - authenticatedAt < FRESH_SECONDS) return;
  throw new RpcError(
    'account.login_not_fresh',
    status.UNAUTHENTICATED,
    `expected a login of the last ${FRESH_SECONDS / 60} minutes and its refresh token, because the account has no password`,
  );
}
