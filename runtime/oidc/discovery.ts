import { z } from 'zod';
import { OidcProviderError } from './errors';
import { fetchJson } from './fetch';
import type { FetchOptions } from './fetch';
import { isEndpointOf } from './issuer';

/** What a provider says of itself. */
export interface ProviderMetadata {
  issuer: string;
  /** Its keys, a JWK Set (RFC 7517). */
  jwksUri: string;
  tokenEndpoint: string | undefined;
  /** RFC 8628, 4. */
  deviceAuthorizationEndpoint: string | undefined;
}

/**
 * Asks a provider for its metadata (OpenID Connect Discovery 1.0, 4). Every address in it is https; where the issuer is on this machine, http on it will do.
 * @param issuer as checkIssuer takes it
 * @throws OidcProviderError
 */
export async function discover(issuer: string, options?: FetchOptions): Promise<ProviderMetadata> {
  // 4.1: a slash at the end is left out.
  const metadata = metadataOf(issuer).safeParse(
    await fetchJson(`${issuer.replace(/\/$/, '')}/.well-known/openid-configuration`, options),
  );
  if (!metadata.success) {
    const reasons = metadata.error.issues.map(({ path, message }) =>
      path.length > 0 ? `${path.join('.')}: ${message}` : message,
    );
    throw new OidcProviderError(
      'oidc.provider_invalid',
      `the metadata of the OpenID provider ${issuer} is not right: ${reasons.join('; ')}`,
    );
  }
  const {
    jwks_uri: jwksUri,
    token_endpoint: tokenEndpoint,
    device_authorization_endpoint: deviceAuthorizationEndpoint,
  } = metadata.data;
  return { issuer, jwksUri, tokenEndpoint, deviceAuthorizationEndpoint };
}

function metadataOf(issuer: string) {
  const endpoint = z.string().refine((text) => isEndpointOf(issuer, text), 'expected an https URL');
  return z.object({
    // 4.3: exactly, or one provider could speak for another.
    issuer: z.literal(issuer, 'expected the issuer that was asked'),
    jwks_uri: endpoint,
    token_endpoint: endpoint.optional(),
    device_authorization_endpoint: endpoint.optional(),
  });
}
