import { randomUUID } from 'node:crypto';
import { status } from '@grpc/grpc-js';
import type { AccountBackend } from '../../licensing/accounts/backend';
import { holdAccount } from '../../licensing/accounts/hold';
import { requesterOf } from '../../licensing/accounts/password';
import { requireSecondFactor } from '../../licensing/accounts/second-factor';
import { normalizeUsername } from '../../licensing/accounts/username';
import { MAX_CLIENT_CERTIFICATE_SECONDS } from '../../licensing/authority/client';
import { countAttempt } from '../../licensing/limits/limits';
import type { PasswordHasher } from '../../licensing/passwords/hasher';
import type { Requester } from '../../licensing/passwords/threads';
import { RpcError } from '../../runtime/rpc/errors';
import type { CallContext } from '../../runtime/rpc/handlers';
import { authenticateToken } from '../../licensing/sessions/bearer';
import { requireFreshNonce } from '../../licensing/sessions/login-nonces';
import { PasswordHashChanged, revokedUser } from '../../licensing/sessions/sessions';
import type { TransactionHook, RefreshGrant } from '../../licensing/sessions/sessions';
import { issueAccessToken } from '../../licensing/tokens/access-token';
import type { LoginRequest, PasswordCredential } from '../../proto/gen/licensing/v1/login';
import type { ClientDetails } from '../../licensing/sessions/client-details';
import { unixSecondsOf } from '../../runtime/clock';

/** What a login gives, besides the certificate and the enclave. */
export interface Tokens extends Partial<RefreshGrant> {
  accessToken: string;
  /** Unix seconds. */
  accessTokenExpiresAt: number;
}

type Call = Pick<CallContext, 'signal' | 'user'>;

export interface Authenticated {
  /** Opaque id of the account. */
  user: string;
  /** The one that goes on, or that begins by `grant`. */
  session: string;
  /** Life of a certificate for it: none outlives the credential that it is given for, so that a stolen one is exchanged for nothing better. */
  certificateSeconds: number;
  /**
   * Gives the tokens, once, at the end of the login: a refresh token is used up by a login that succeeds, not by one that failed.
   * @param hook in the same transaction
   * @throws RpcError UNAUTHENTICATED `login.session_ended`, where the session was ended or the password changed meanwhile; ABORTED `login.refresh_raced`
   */
  grant(hook?: TransactionHook): Promise<Tokens>;
}

/** One answer for an unknown user, a wrong password and a username that can't be: nobody learns who has an account. */
function wrongCredentials(): RpcError {
  return new RpcError('login.wrong_credentials', status.UNAUTHENTICATED, 'the username or the password is wrong');
}

/** The password is another one meanwhile. */
function sessionEnded(): RpcError {
  return new RpcError('login.session_ended', status.UNAUTHENTICATED, 'the session has ended');
}

async function accessToken(
  { tokenKeys, trustDomain }: AccountBackend,
  user: string,
  session: string,
  authenticatedAt: number,
  generation: number,
): Promise<Tokens> {
  const subject = { user, session, authenticatedAt, generation };
  const { token, expiresAt } = await issueAccessToken(tokenKeys, subject, { trustDomain });
  return { accessToken: token, accessTokenExpiresAt: expiresAt };
}

async function byPassword(
  backend: AccountBackend,
  credential: PasswordCredential,
  oneTimeCode: string,
  client: ClientDetails,
  call: Call,
  nonce: Buffer | undefined,
): Promise<Authenticated> {
  const { accounts, hasher, sessions, limits } = backend;
  // A text that can be no username takes the same way as one that nobody has.
  const username = normalizeUsername(credential.username) ?? '';
  const account = await accounts.find(username);
  call.user = account?.id;
  if (nonce) await requireFreshNonce(backend.database, account?.id, nonce);
  const known = credential.knownSession === '' ? undefined : await sessions.recognize(credential.knownSession);
  const knownSession = known && known.user === account?.id ? known.session : undefined;
  const requester = requesterOf(client, call.signal);
  const attempt = await limits.passwordAttempt(username, client.address, knownSession);
  const matches = await countAttempt(attempt, () =>
    hasher.verify(credential.password, account?.passwordHash, requester),
  );
  if (!matches || account?.passwordHash === undefined) throw wrongCredentials();
  const { id: user, passwordHash: shown } = account;
  const secondFactor = await requireSecondFactor(backend, user, oneTimeCode, knownSession);
  if (account.revoked) throw revokedUser();
  const session = randomUUID();
  const authenticatedAt = unixSecondsOf(backend.clock);
  return {
    user,
    session,
    certificateSeconds: MAX_CLIENT_CERTIFICATE_SECONDS,
    async grant(hook) {
      const begin = async (passwordHash: string): Promise<RefreshGrant> =>
        sessions.begin(
          {
            user,
            session,
            authenticatedAt,
            passwordHash,
            rehashed: await rehashed(hasher, credential.password, passwordHash, requesterOf(client)),
          },
          client,
          MAX_CLIENT_CERTIFICATE_SECONDS,
          async (queries) => {
            // A login takes minutes where an enclave starts: what was shown for it may be worth nothing by now.
            await holdAccount(queries, { user, secondFactor });
            await hook?.(queries);
          },
        );
      const granted = await begin(shown).catch(async (error: unknown) => {
        if (!(error instanceof PasswordHashChanged)) throw error;
        // Another login may have hashed the same password again; a new password ends this one.
        const now = (await accounts.findById(user))?.passwordHash;
        if (now === undefined || !(await hasher.verify(credential.password, now, requester))) throw sessionEnded();
        return begin(now);
      });
      return { ...granted, ...(await accessToken(backend, user, session, authenticatedAt, granted.generation)) };
    },
  };
}

/** The password hashed as the settings have it now, where that is another way than before. A service that is busy does it at a later login. */
async function rehashed(
  hasher: PasswordHasher,
  password: string,
  stored: string,
  requester: Requester,
): Promise<string | undefined> {
  return hasher.isOutdated(stored) ? hasher.hash(password, requester).catch(() => undefined) : undefined;
}

async function byAccessToken(backend: AccountBackend, token: string): Promise<Authenticated> {
  const { user, session, expiresAt } = await authenticateToken(backend, token);
  const left = expiresAt - unixSecondsOf(backend.clock);
  const certificateSeconds = Math.min(MAX_CLIENT_CERTIFICATE_SECONDS, Math.max(1, left));
  return {
    user,
    session,
    certificateSeconds,
    // The same token: who found one has no more than its minutes.
    async grant(hook) {
      await backend.sessions.certify({ user, session }, certificateSeconds, hook);
      return { accessToken: token, accessTokenExpiresAt: expiresAt };
    },
  };
}

async function byRefreshToken(backend: AccountBackend, token: string, client: ClientDetails): Promise<Authenticated> {
  const { user, session, authenticatedAt } = await backend.sessions.check(token);
  return {
    user,
    session,
    certificateSeconds: MAX_CLIENT_CERTIFICATE_SECONDS,
    async grant(hook) {
      const granted = await backend.sessions.rotate(token, client, MAX_CLIENT_CERTIFICATE_SECONDS, hook);
      return { ...granted, ...(await accessToken(backend, user, session, authenticatedAt, granted.generation)) };
    },
  };
}

/**
 * Who logs in, by an access token, a refresh token, or username and password. A second factor is asked for with a password only: a session that
 * goes on has shown it.
 * @param request with the nonce of a login: one that was used is refused before a password costs anything
 * @throws RpcError UNAUTHENTICATED `login.revoked`, `login.credential_missing`, `login.nonce_used`, `login.wrong_credentials`, `login.second_factor_required`, `login.second_factor_wrong`, `login.token_invalid`, `login.refresh_invalid`, `login.refresh_reused`,
 * `login.session_ended`; ABORTED `login.refresh_raced`; RESOURCE_EXHAUSTED `login.busy`, `login.limited`;
 * UNAVAILABLE `store.unavailable`
 */
export function authenticate(
  backend: AccountBackend,
  { credential, oneTimeCode, nonce }: Pick<LoginRequest, 'credential' | 'oneTimeCode'> & { nonce?: Buffer },
  client: ClientDetails,
  call: Call,
): Promise<Authenticated> {
  switch (credential?.$case) {
    case 'accessToken':
      return byAccessToken(backend, credential.value);
    case 'refreshToken':
      return byRefreshToken(backend, credential.value, client);
    case 'password':
      return byPassword(backend, credential.value, oneTimeCode, client, call, nonce);
    case undefined:
      throw new RpcError(
        'login.credential_missing',
        status.UNAUTHENTICATED,
        'expected an access token, a refresh token, or a username and a password',
      );
  }
}
