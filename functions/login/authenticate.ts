import { status } from '@grpc/grpc-js';
import type { AccountBackend } from '../../core/accounts/backend';
import { normalizeUsername } from '../../core/accounts/username';
import { RpcError } from '../../core/rpc/errors';
import { TokenError, verifyAccessToken } from '../../core/tokens/access-token';
import type { LoginRequest, PasswordCredential } from '../../proto/gen/licensing/v1/login';

export interface Authenticated {
  /** Opaque id of the account. */
  user: string;
  /** Unix seconds when a password was given. */
  authenticatedAt: number;
}

/** One answer for an unknown user, a wrong password and a username that can't be: nobody learns who has an account. */
function wrongCredentials(): RpcError {
  return new RpcError('login.wrong_credentials', status.UNAUTHENTICATED, 'the username or the password is wrong');
}

function tokenInvalid(reason: string, cause?: unknown): RpcError {
  return new RpcError('login.token_invalid', status.UNAUTHENTICATED, reason, { cause });
}

async function byPassword({ accounts, hasher }: AccountBackend, credential: PasswordCredential, signal: AbortSignal): Promise<Authenticated> {
  const username = normalizeUsername(credential.username);
  // A text that can be no username takes the same way as one that nobody has.
  const account = await accounts.find(username ?? '');
  const matches = await hasher.verify(credential.password, account?.passwordHash, signal);
  if (!matches || !account) throw wrongCredentials();
  return { user: account.id, authenticatedAt: Math.floor(Date.now() / 1000) };
}

async function byToken({ accounts, tokenKeys, trustDomain }: AccountBackend, token: string): Promise<Authenticated> {
  const { user, authenticatedAt } = await verifyAccessToken(tokenKeys, token, { trustDomain }).catch((error: unknown) => {
    if (error instanceof TokenError) throw tokenInvalid(error.message, error);
    throw error;
  });
  if (!(await accounts.exists(user))) throw tokenInvalid('the account of the access token is gone');
  return { user, authenticatedAt };
}

/**
 * Who logs in, by an access token or by username and password.
 * @throws RpcError UNAUTHENTICATED `login.wrong_credentials`, `login.token_invalid`; INVALID_ARGUMENT
 * `login.credential_missing`; RESOURCE_EXHAUSTED `login.busy`; UNAVAILABLE `store.unavailable`
 */
export function authenticate(backend: AccountBackend, credential: LoginRequest['credential'], signal: AbortSignal): Promise<Authenticated> {
  switch (credential?.$case) {
    case 'accessToken':
      return byToken(backend, credential.value);
    case 'password':
      return byPassword(backend, credential.value, signal);
    case undefined:
      throw new RpcError('login.credential_missing', status.INVALID_ARGUMENT, 'expected an access token, or a username and a password');
  }
}
