import { isOnThisMachine, checkIssuer } from '../../runtime/oidc/issuer';
import { OidcProviderError } from '../../runtime/oidc/errors';
import { isLoopback } from '../../runtime/rpc/address';
import { callUnary } from '../../runtime/rpc/client';
import type { TrustBundle } from '../../attestation/trust/bundle';
import { bearer, PASSWORD_TIMEOUT_MS, TIMEOUT_MS, tokensOf, withAccountService } from '../account';
import type { CallOptions, SessionTokens } from '../account';

/** The OpenID provider that users log in at, and the service's client there. */
export interface OidcSettings {
  /** https URL. */
  issuer: string;
  clientId: string;
  /** Not secret, whatever the provider calls it; empty if there is none. */
  publicClientSecret: string;
  scopes: string[];
}

/**
 * Returns the OpenID provider that users log in at.
 * @returns undefined if the service does not offer login with OIDC
 * @throws RpcError
 * @throws OidcProviderError oidc.provider_invalid: the provider has no TLS, or is on this machine while the service is not
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

/** A session begun with an ID token. */
export interface OidcLogin extends SessionTokens {
  username: string;
  /** True if this login created the account. */
  created: boolean;
}

/**
 * Begins a session with an ID token, which can be used only once.
 * @param username name for a new account. Default: a generated one
 * @param oneTimeCode required with a second factor: a code from the authenticator, or a recovery code
 * @throws RpcError oidc.token_invalid, oidc.token_used, oidc.unknown_user, oidc.other_username, oidc.provider_unavailable,
 * login.revoked, login.second_factor_required, login.second_factor_wrong, signup.username_taken
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

/** Confirms that the account's owner is asking. */
export interface OwnerFactors {
  password: string;
  /** Required with a second factor: a code from the authenticator, or a recovery code. */
  oneTimeCode?: string | undefined;
}

/**
 * Links the account to the identity in an ID token, which can be used only once.
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

/** Unlinks the account from its OpenID provider. @throws RpcError login.wrong_credentials, oidc.not_bound, account.no_password */
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

/** The account of the logged-in user. */
export interface AccountSummary {
  /** Opaque id. */
  user: string;
  username: string;
  hasPassword: boolean;
  /** Issuer that the account is linked to; undefined if none. */
  oidcIssuer: string | undefined;
}

/** Returns the account of the logged-in user. @throws RpcError login.token_invalid */
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
