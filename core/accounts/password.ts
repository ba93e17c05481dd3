import { judged } from '../limits/limits';
import type { AccessToken } from '../tokens/access-token';
import type { Account } from './accounts';
import type { AccountBackend } from './backend';

/**
 * Whether a password is the caller's own, who has a session already: for what a stolen access token must not do.
 * @throws RpcError RESOURCE_EXHAUSTED login.limited, login.busy
 */
export async function isPasswordOf(
  { limits, hasher }: Pick<AccountBackend, 'limits' | 'hasher'>,
  { user, session }: Pick<AccessToken, 'user' | 'session'>,
  { passwordHash }: Pick<Account, 'passwordHash'>,
  password: string,
  signal: AbortSignal,
): Promise<boolean> {
  return judged(await limits.passwordAttempt(user, '', session), () => hasher.verify(password, passwordHash, signal));
}
