import { isOnThisMachine, checkIssuer } from '../../runtime/oidc/issuer';
import { OidcProviderError } from '../../runtime/oidc/errors';
import { isLoopback } from '../../runtime/rpc/address';
import { callUnary } from '../../runtime/rpc/client';
import type { TrustBundle } from '../../attestation/trust/bundle';
import { bearer, PASSWORD_TIMEOUT_MS, TIMEOUT_MS, tokensOf, withAccountService } from '../account';
import type { CallOptions, SessionTokens } from '../account';

/** The OpenID provider by which users log in, and as what it knows the service. */
export interface OidcSettings {
  issuer: string;
  clientId: string;
  /** No secret, whatever the provider calls it; empty where there is none. */
  publicClientSecret: string;
  scopes: string[];
}

/**
 * By which provider users log in at the service.
 * @returns undefined where they don't
 * @throws RpcError; OidcProviderError where the service names a provider without TLS, or one on this machine and is itself elsewhere
 */
export async function oidcSettings(trust: TrustBundle, options: CallOptions = {}): Promise<OidcSettings | undefined> {
  const settings = await withAccountService(trust, options, (client) =>
    callUnary(client, client.getOidcSettings, {}, { timeout: TIMEOUT_MS, signal: options.signal }),
  );
  const { issuer } = settings;
  if (issuer === '') return undefined;
  try {
    checkIssuer(issuer);
  } catch (cause) {
    throw new OidcProviderError('oidc.provider_invalid', (cause as Error).message, { cause });
  }
  if (isOnThisMachine(issuer) && !isLoopback(new URL(trust.services.signup).hostname)) {
    throw new OidcProviderError(
      'oidc.provider_invalid',
      `the service names an OpenID provider on this machine, ${issuer}, and is elsewhere`,
    );
  }
  return settings;
}

export interface OidcLogin extends SessionTokens {
  username: string;
  /** The account was made by this login. */
  created: boolean;
}

/**
 * Begins a session by an ID token, which is used up by it.
 * @param username what an account that is not there yet shall be called; left out: a name is made
 * @param oneTimeCode where the user has a second factor: of the authenticator, or a recovery code
 * @throws RpcError oidc.token_invalid, oidc.token_used, oidc.unknown_user, oidc.other_username, oidc.provider_unavailable, login.revoked, login.second_factor_required,
 * login.second_factor_wrong, signup.username_taken
 */
export function exchangeIdToken(
  trust: TrustBundle,
  {
    idToken,
    username = '',
    oneTimeCode = '',
  }: { idToken: string; username?: string | undefined; oneTimeCode?: string | undefined },
  options: CallOptions = {},
): Promise<OidcLogin> {
  const { signal, clientName = '' } = options;
  return withAccountService(trust, options, async (client) => {
    const answer = await callUnary(
      client,
      client.exchangeIdToken,
      { idToken, username, oneTimeCode, clientName },
      { timeout: TIMEOUT_MS, signal },
    );
    return { ...tokensOf(answer), username: answer.username, created: answer.created };
  });
}

/** What shows that it is the account's owner who asks. */
export interface OwnerFactors {
  password: string;
  /** Where there is a second factor. */
  oneTimeCode?: string | undefined;
}

/**
 * Binds the account to whom an ID token names, which is used up by it.
 * @returns the issuer
 * @throws RpcError login.wrong_credentials, oidc.already_bound, and as exchangeIdToken
 */
export function linkIdentity(
  trust: TrustBundle,
  accessToken: string,
  { idToken, password, oneTimeCode = '' }: OwnerFactors & { idToken: string },
  options: CallOptions = {},
): Promise<string> {
  return withAccountService(trust, options, async (client) => {
    const call = { timeout: PASSWORD_TIMEOUT_MS, metadata: bearer(accessToken), signal: options.signal };
    return (await callUnary(client, client.linkIdentity, { idToken, password, oneTimeCode }, call)).oidcIssuer;
  });
}

/** Takes that back. @throws RpcError login.wrong_credentials, oidc.not_bound, account.no_password */
export async function unlinkIdentity(
  trust: TrustBundle,
  accessToken: string,
  { password, oneTimeCode = '' }: OwnerFactors,
  options: CallOptions = {},
): Promise<void> {
  await withAccountService(trust, options, (client) =>
    callUnary(
      client,
      client.unlinkIdentity,
      { password, oneTimeCode },
      { timeout: PASSWORD_TIMEOUT_MS, metadata: bearer(accessToken), signal: options.signal },
    ),
  );
}

export interface AccountSummary {
  /** Opaque id. */
  user: string;
  username: string;
  hasPassword: boolean;
  /** The OpenID provider that the account is bound to. */
  oidcIssuer: string | undefined;
}

/** What the service knows of whoever is logged in. @throws RpcError */
export function accountSummary(
  trust: TrustBundle,
  accessToken: string,
  options: CallOptions = {},
): Promise<AccountSummary> {
  return withAccountService(trust, options, async (client) => {
    const call = { timeout: TIMEOUT_MS, metadata: bearer(accessToken), signal: options.signal };
    const { oidcIssuer, ...rest } = await callUnary(client, client.getAccount, {}, call);
    return { ...rest, oidcIssuer: oidcIssuer === '' ? undefined : oidcIssuer };
  });
}
