import { calculateJwkThumbprint, exportJWK, generateKeyPair, importJWK } from 'jose';
import type { CryptoKey, JWK } from 'jose';
import { z } from 'zod';

/** The only algorithm of tokens here: ECDSA P-256 with SHA-256 (RFC 7518, 3.4). Never taken from a token. */
export const TOKEN_ALGORITHM = 'ES256';

/** Keys that sign and verify tokens. */
export interface TokenKeys {
  /** The first of the set: signs new tokens. */
  signing: { kid: string; key: CryptoKey };
  /** By `kid`: all of the set verify, so that tokens of the key before still count while a new one is rolled out. */
  verifying: ReadonlyMap<string, CryptoKey>;
  /** The public halves as a JWK Set (RFC 7517, 5), JSON text. */
  jwks: string;
}

/** A key file that can't be used. The message holds no key. */
export class TokenKeysError extends Error {
  override readonly name = 'TokenKeysError';
  readonly code = 'token.keys_invalid';
}

const privateKey = z.object({
  kty: z.literal('EC'),
  crv: z.literal('P-256'),
  x: z.string(),
  y: z.string(),
  d: z.string(),
  kid: z.string().min(1).max(128).optional(),
  alg: z.literal(TOKEN_ALGORITHM).optional(),
  use: z.literal('sig').optional(),
});
const privateKeySet = z.object({ keys: z.array(privateKey).min(1) });

/** Makes a key: a JWK Set with one private P-256 key, JSON text, as TOKEN_KEYS_FILE holds it. A secret. */
export async function generateTokenKeys(): Promise<string> {
  const pair = await generateKeyPair(TOKEN_ALGORITHM, { extractable: true });
  const jwk = await exportJWK(pair.privateKey);
  return JSON.stringify({ keys: [{ ...jwk, kid: await calculateJwkThumbprint(jwk), alg: TOKEN_ALGORITHM, use: 'sig' }] });
}

/**
 * Reads a private JWK Set. To rotate, put the new key first and leave the old one behind it until its last token has ended.
 * A key without `kid` gets its thumbprint (RFC 7638).
 * @throws TokenKeysError
 */
export async function readTokenKeys(json: string): Promise<TokenKeys> {
  let parsed: z.infer<typeof privateKeySet>;
  try {
    parsed = privateKeySet.parse(JSON.parse(json));
  } catch (error) {
    // The reasons of a schema name fields, never values; those of a JSON parser quote the text.
    const reason = error instanceof z.ZodError ? error.issues.map(({ path, message }) => `${path.join('.')}: ${message}`).join('; ') : 'not JSON';
    throw new TokenKeysError(`expected a JWK Set of private P-256 keys: ${reason}`);
  }
  const verifying = new Map<string, CryptoKey>();
  const publicKeys: JWK[] = [];
  let signing: TokenKeys['signing'] | undefined;
  for (const { d, ...half } of parsed.keys) {
    const kid = half.kid ?? (await calculateJwkThumbprint(half));
    if (verifying.has(kid)) throw new TokenKeysError(`expected every kid once, got ${JSON.stringify(kid)} twice`);
    const publicJwk: JWK = { ...half, kid, alg: TOKEN_ALGORITHM, use: 'sig' };
    try {
      verifying.set(kid, (await importJWK(publicJwk, TOKEN_ALGORITHM)) as CryptoKey);
      signing ??= { kid, key: (await importJWK({ ...publicJwk, d }, TOKEN_ALGORITHM)) as CryptoKey };
    } catch {
      throw new TokenKeysError(`expected a P-256 key, got one that is not (kid ${JSON.stringify(kid)})`);
    }
    publicKeys.push(publicJwk);
  }
  return { signing: signing!, verifying, jwks: JSON.stringify({ keys: publicKeys }) };
}
