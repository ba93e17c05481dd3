import { Metadata } from '@grpc/grpc-js';
import { callUnary } from '../runtime/rpc/client';
import type { Clock } from '../runtime/clock';
import { fromUnixSeconds } from '../runtime/rpc/unix-time';
import type { TrustBundle } from '../attestation/trust/bundle';
import { AccountDeletionServiceClient, AccountServiceClient } from '../proto/gen/licensing/v1/account';
import { withService } from './channel';
import { requireSameUser } from './identity';

export const TIMEOUT_MS = 15_000;
/** A password is hashed, and others may be waiting for that. */
export const PASSWORD_TIMEOUT_MS = 30_000;
/** Enclaves end first. */
const DELETION_TIMEOUT_MS = 100_000;

/** Options of every call to a service. */
export interface CallOptions {
  /** Cancels the call; it rejects with an RpcError of status CANCELLED. */
  signal?: AbortSignal;
  /** Allows sending passwords and tokens to http:// services on other machines. Default: false. */
  allowPlaintext?: boolean;
  /** Name of this machine, as shown in the list of sessions. */
  clientName?: string;
  /** Compared with the service's before a refusal that it can explain. Default: the system clock. */
  clock?: Clock;
}

/** The credentials of a session. Secrets: never log them. */
export interface SessionTokens {
  /** JWT, valid for minutes. */
  accessToken: string;
  /** Unix seconds. */
  accessTokenExpiresAt: number;
  /** Single-use: each use returns the next one. Save that one at once, because reusing an older one ends the session. */
  refreshToken?: string | undefined;
  /** Unix seconds. */
  refreshTokenExpiresAt?: number | undefined;
}

interface TokensMessage {
  accessToken: string;
  expiresAt: bigint;
  refreshToken: string;
  refreshTokenExpiresAt: bigint;
}

/** The tokens of an answer. */
export function tokensOf({
  accessToken,
  expiresAt,
  refreshToken,
  refreshTokenExpiresAt,
}: TokensMessage): SessionTokens {
  return {
    accessToken,
    accessTokenExpiresAt: Number(expiresAt),
    refreshToken,
    refreshTokenExpiresAt: Number(refreshTokenExpiresAt),
  };
}

/** Calls the account service over a channel of its own. @throws RpcError, PlaintextRefused */
export function withAccountService<T>(
  trust: Pick<TrustBundle, 'services' | 'serverRoots'>,
  options: CallOptions,
  call: (client: AccountServiceClient) => Promise<T>,
): Promise<T> {
  return withService(AccountServiceClient, trust.services.signup, trust, options, call);
}

/** Metadata that shows an access token. */
export function bearer(accessToken: string): Metadata {
  const metadata = new Metadata();
  metadata.set('authorization', `Bearer ${accessToken}`);
  return metadata;
}

/**
 * Creates an account and begins a session.
 * @example
 * const tokens = await signUp(trust, { username: 'ada', password });
 * const session = await login(trust, { credential: { accessToken: tokens.accessToken } });
 * @throws RpcError signup.username_taken, signup.username_invalid, signup.password_too_short, signup.password_too_long,
 * signup.password_weak; PlaintextRefused
 */
export function signUp(
  trust: TrustBundle,
  { username, password }: { username: string; password: string },
  options: CallOptions = {},
): Promise<SessionTokens> {
  const { signal, clientName = '' } = options;
  return withAccountService(trust, options, async (client) =>
    tokensOf(
      await callUnary(
        client,
        client.signUp,
        { username, password, clientName },
        { timeout: PASSWORD_TIMEOUT_MS, signal },
      ),
    ),
  );
}

/**
 * Exchanges a refresh token for new tokens. If the answer is lost, the old token can be used again after five seconds,
 * until a newer one is used.
 * @param options `user`: id of the session's user; tokens for another user are refused
 * @throws AttestationRefused identity.user
 * @throws RpcError login.refresh_raced (ABORTED): another call used the token within the last seconds; use the tokens it got
 * @throws RpcError login.refresh_reused, login.session_ended, login.refresh_invalid: the session is over
 */
export function refresh(
  trust: TrustBundle,
  refreshToken: string,
  options: CallOptions & { user?: string | undefined } = {},
): Promise<SessionTokens> {
  const { signal, clientName = '', user } = options;
  return withAccountService(trust, options, async (client) => {
    const call = { timeout: TIMEOUT_MS, signal };
    const tokens = tokensOf(await callUnary(client, client.refresh, { refreshToken, clientName }, call));
    requireSameUser(user, tokens);
    return tokens;
  });
}

/**
 * Ends a session on the service, or with `all` every session of its user. Its client certificates are refused from the
 * next revocation list on.
 * @returns the number of sessions ended
 * @throws RpcError
 */
export function logOut(
  trust: Pick<TrustBundle, 'services' | 'serverRoots'>,
  refreshToken: string,
  options: CallOptions & { all?: boolean } = {},
): Promise<number> {
  const { signal, all = false } = options;
  return withAccountService(
    trust,
    options,
    async (client) =>
      (await callUnary(client, client.logOut, { refreshToken, all }, { timeout: TIMEOUT_MS, signal })).ended,
  );
}

/** A session that has not ended, on this or another machine. */
export interface SessionSummary {
  /** Id (UUID). */
  session: string;
  createdAt: Date;
  lastUsedAt: Date;
  /** The client's own name for its machine (`CallOptions.clientName`); empty if it gave none. */
  clientName: string;
  /** IP address, as the service saw it. */
  clientAddress: string;
  /** True for the session that asked. */
  current: boolean;
}

/** Lists the user's sessions that have not ended, most recently used first. @throws RpcError login.token_invalid */
export function listSessions(
  trust: TrustBundle,
  accessToken: string,
  options: CallOptions = {},
): Promise<SessionSummary[]> {
  return withAccountService(trust, options, async (client) => {
    const { sessions } = await callUnary(
      client,
      client.listSessions,
      {},
      { timeout: TIMEOUT_MS, metadata: bearer(accessToken), signal: options.signal },
    );
    return sessions.map(({ createdAt, lastUsedAt, ...rest }) => ({
      ...rest,
      createdAt: fromUnixSeconds(createdAt),
      lastUsedAt: fromUnixSeconds(lastUsedAt),
    }));
  });
}

/** Ends one of the user's sessions. @param session its id, from `listSessions` @throws RpcError session.not_found */
export async function revokeSession(
  trust: TrustBundle,
  accessToken: string,
  session: string,
  options: CallOptions = {},
): Promise<void> {
  await withAccountService(trust, options, (client) =>
    callUnary(
      client,
      client.revokeSession,
      { session },
      { timeout: TIMEOUT_MS, metadata: bearer(accessToken), signal: options.signal },
    ),
  );
}

/**
 * Deletes the account permanently, with its enclaves and everything that names its user.
 * @param refreshToken required if the account has no password: of the session, which began in the last five minutes. It is not used up
 * @param oneTimeCode required with a second factor: a code from the authenticator, or a recovery code
 * @returns `enclavesRemoved`: false if the service is still removing the enclaves
 * @throws RpcError login.wrong_credentials, account.login_not_fresh, login.second_factor_required, login.second_factor_wrong
 */
export function deleteAccount(
  trust: TrustBundle,
  accessToken: string,
  { password, refreshToken = '', oneTimeCode = '' }: Confirmation & { oneTimeCode?: string | undefined },
  options: CallOptions = {},
): Promise<{ enclavesRemoved: boolean }> {
  return withService(AccountDeletionServiceClient, trust.services.login, trust, options, (client) =>
    callUnary(
      client,
      client.deleteAccount,
      { password, refreshToken, oneTimeCode },
      { timeout: DELETION_TIMEOUT_MS, metadata: bearer(accessToken), signal: options.signal },
    ),
  );
}

/** Shows, beside an access token, that its user is the one who asks. */
export interface Confirmation {
  /** Empty if the account has none. */
  password: string;
  /** For an account without a password: of a session that began in the last five minutes. It is not used up. */
  refreshToken?: string | undefined;
}

/** A login method that an account is linked to, beside its password. */
export interface LinkedIdentity {
  /** URL of the OpenID provider. */
  issuer: string;
  linkedAt: Date;
}

/** What a change of the password did. */
export interface PasswordChange {
  /** Number of other sessions ended. */
  ended: number;
  /** Replace this session's earlier ones, which no longer work. */
  tokens: SessionTokens;
  /** Identities by which the account can still be logged in to. */
  linked: LinkedIdentity[];
  /** Identities that were unlinked with it. */
  unlinked: LinkedIdentity[];
}

/**
 * Changes the password and ends all other sessions.
 * @param oneTimeCode required with a second factor: a code from the authenticator, or a recovery code
 * @param unlinkIdentities also unlinks every identity at an OpenID provider. Default: false
 * @throws RpcError login.wrong_credentials, login.second_factor_required, login.second_factor_wrong, signup.password_…
 */
export function changePassword(
  trust: TrustBundle,
  accessToken: string,
  {
    oldPassword,
    newPassword,
    oneTimeCode = '',
    unlinkIdentities = false,
  }: {
    oldPassword: string;
    newPassword: string;
    oneTimeCode?: string | undefined;
    unlinkIdentities?: boolean | undefined;
  },
  options: CallOptions = {},
): Promise<PasswordChange> {
  return withAccountService(trust, options, async (client) => {
    const call = { timeout: PASSWORD_TIMEOUT_MS, metadata: bearer(accessToken), signal: options.signal };
    const request = { oldPassword, newPassword, oneTimeCode, unlinkIdentities };
    const { ended, accessTokenExpiresAt, linked, unlinked, ...tokens } = await callUnary(
      client,
      client.changePassword,
      request,
      call,
    );
    return {
      ended,
      // The service of the release before gives no new access token, and goes on taking the one at hand.
      tokens:
        tokens.accessToken === ''
          ? { accessToken, accessTokenExpiresAt: 0, ...refreshOf(tokens) }
          : {
              accessToken: tokens.accessToken,
              accessTokenExpiresAt: Number(accessTokenExpiresAt),
              ...refreshOf(tokens),
            },
      linked: linked.map(toLinked),
      unlinked: unlinked.map(toLinked),
    };
  });
}

function refreshOf({
  refreshToken,
  refreshTokenExpiresAt,
}: Pick<TokensMessage, 'refreshToken' | 'refreshTokenExpiresAt'>): Pick<
  SessionTokens,
  'refreshToken' | 'refreshTokenExpiresAt'
> {
  return { refreshToken, refreshTokenExpiresAt: Number(refreshTokenExpiresAt) };
}

function toLinked({ issuer, linkedAt }: { issuer: string; linkedAt: bigint }): LinkedIdentity {
  return { issuer, linkedAt: fromUnixSeconds(linkedAt) };
}
