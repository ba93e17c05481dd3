import { z } from 'zod';
import { ConfigError } from '../../runtime/config/environment';
import { checkIssuer } from '../../runtime/oidc/issuer';

/** Manifests have a place for each setting; an empty one is none. */
const text = z
  .string()
  .optional()
  .transform((value) => (value === '' ? undefined : value));

/** Settings of logins by an OpenID provider: spread into a program's schema. Without OIDC_ISSUER there are none. */
export const oidcSettings = {
  OIDC_ISSUER: text.transform((value, context) => {
    try {
      return value === undefined ? undefined : checkIssuer(value);
    } catch (error) {
      context.addIssue({ code: 'custom', message: (error as Error).message });
      return z.NEVER;
    }
  }),
  /** As the provider knows this installation: a client that may use device codes and has no secret. */
  OIDC_CLIENT_ID: text,
  /** What some providers give to such clients all the same and call a secret. Every user's client gets it. */
  OIDC_PUBLIC_CLIENT_SECRET: text,
  /** Divided by spaces. */
  OIDC_SCOPES: text.transform((value) => (value ?? 'openid').split(/\s+/).filter((scope) => scope !== '')),
  /** Whether whoever the provider knows gets an account at their first login. */
  OIDC_SIGNUP: z
    .enum(['true', 'false', ''])
    .default('true')
    .transform((value) => value !== 'false'),
};

type Settings = z.infer<z.ZodObject<typeof oidcSettings>>;

export interface OidcSettings {
  issuer: string;
  clientId: string;
  /** Not one: known to every client. */
  publicClientSecret: string | undefined;
  scopes: string[];
  signup: boolean;
}

/** @returns undefined where logins by OIDC are off @throws ConfigError */
export function readOidcSettings({
  OIDC_ISSUER: issuer,
  OIDC_CLIENT_ID: clientId,
  OIDC_PUBLIC_CLIENT_SECRET: publicClientSecret,
  OIDC_SCOPES: scopes,
  OIDC_SIGNUP: signup,
}: Settings): OidcSettings | undefined {
  if (issuer === undefined) {
    if (clientId !== undefined) throw new ConfigError('OIDC_ISSUER: expected an issuer, because OIDC_CLIENT_ID is set');
    return undefined;
  }
  if (clientId === undefined) throw new ConfigError('OIDC_CLIENT_ID: expected a client, because OIDC_ISSUER is set');
  if (!scopes.includes('openid'))
    throw new ConfigError('OIDC_SCOPES: expected openid among them: without it a provider gives no ID token');
  return { issuer, clientId, publicClientSecret, scopes, signup };
}
