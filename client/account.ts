import { Metadata } from '@grpc/grpc-js';
import { callUnary } from '../runtime/rpc/client';
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

export interface CallOptions {
  signal?: AbortSignal;
  /** Sends passwords and tokens to http:// services that are not on this machine. */
  allowPlaintext?: boolean;
  /** What this machine is called, for the list of sessions. */
  clientName?: string;
}

/** What shows that a session is one's own. Secrets. */
export interface SessionTokens {
  accessToken: string;
  /** Unix seconds. */
  accessTokenExpiresAt: number;
  /** Good for one use, which gives the next one: keep that at once, because the old one, used again after the next, ends the session. */
  refreshToken?: string | undefined;
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
  trust: TrustBundle,
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

/** Creates an account and begins a session. @throws RpcError with the service's code, PlaintextRefused */
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
 * Exchanges a refresh token for new tokens. Where the answer is lost, the old one is good again after five seconds, until a newer one is used.
 * @param options `user`: whose session it is, by id: tokens of another one are refused
 * @throws AttestationRefused identity.user; RpcError login.refresh_raced (ABORTED) where another call used it in the last seconds: the tokens that it got are the ones to use;
 * login.refresh_reused, login.session_ended, login.refresh_invalid: the session is over
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
 * Ends a session, or all of its user's, on the service. Client certificates that were given out are refused by clients from the next revocation list on.
 * @returns how many ended
 * @throws RpcError
 */
export function logOut(
  trust: TrustBundle,
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

export interface SessionSummary {
  session: string;
  createdAt: Date;
  lastUsedAt: Date;
  clientName: string;
  clientAddress: string;
  /** The one that asked. */
  current: boolean;
}

/** The sessions of the user that have not ended, the one that was used last first. @throws RpcError */
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

/** Ends one of the user's sessions. @throws RpcError session.not_found */
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
 * Deletes the account for good, with its enclaves and everything that names its user.
 * @param oneTimeCode where the user has a second factor: of the authenticator, or a recovery code
 * @returns whether the enclaves are gone already; else the service goes on by itself
 * @throws RpcError login.wrong_credentials, login.second_factor_required, login.second_factor_wrong
 */
export function deleteAccount(
  trust: TrustBundle,
  accessToken: string,
  { password, oneTimeCode = '' }: { password: string; oneTimeCode?: string | undefined },
  options: CallOptions = {},
): Promise<{ enclavesRemoved: boolean }> {
  return withService(AccountDeletionServiceClient, trust.services.login, trust, options, (client) =>
    callUnary(
      client,
      client.deleteAccount,
      { password, oneTimeCode },
      { timeout: DELETION_TIMEOUT_MS, metadata: bearer(accessToken), signal: options.signal },
    ),
  );
}

/**
 * Changes the password and ends all other sessions.
 * @param oldPassword may be empty within five minutes of a login by password
 * @param oneTimeCode where the user has a second factor: of the authenticator, or a recovery code
 * @returns how many sessions ended, and the refresh token by which this one goes on: those of before are worth nothing any more
 * @throws RpcError login.wrong_credentials, login.second_factor_required, login.second_factor_wrong, signup.password_…
 */
export function changePassword(
  trust: TrustBundle,
  accessToken: string,
  {
    oldPassword,
    newPassword,
    oneTimeCode = '',
  }: { oldPassword: string; newPassword: string; oneTimeCode?: string | undefined },
  options: CallOptions = {},
): Promise<{ ended: number; refreshToken: string; refreshTokenExpiresAt: number }> {
  return withAccountService(trust, options, async (client) => {
    const call = { timeout: PASSWORD_TIMEOUT_MS, metadata: bearer(accessToken), signal: options.signal };
    const changed = await callUnary(client, client.changePassword, { oldPassword, newPassword, oneTimeCode }, call);
    return { ...changed, refreshTokenExpiresAt: Number(changed.refreshTokenExpiresAt) };
  });
}
