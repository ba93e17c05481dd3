import { importJWK } from 'jose';
import type { CryptoKey, JWK } from 'jose';
import { z } from 'zod';
import { readTokenKeys } from '../tokens/keys';

/** Keys of the log, as LOG_KEYS_FILE holds them. */
export interface LogKeys {
  /** Signs heads. */
  readonly signing: { kid: string; key: CryptoKey };
  /**
   * Public keys by `kid`: of the set, and of all that were in it before. Clients believe the first only; a log that goes on is compared with its
   * last head whichever of them signed it.
   */
  readonly known: { get(kid: string): CryptoKey | undefined };
}

const publicKey = z.object({
  kty: z.literal('EC'),
  crv: z.literal('P-256'),
  x: z.string(),
  y: z.string(),
  kid: z.string(),
});
const retiredKeys = z.object({ retired: z.array(publicKey).default([]) });

/**
 * Reads a private JWK Set, as readTokenKeys does, with one more member: `retired`, public keys that the set had before.
 * @throws TokenKeysError; z.ZodError for `retired`, which holds nothing secret
 */
export async function readLogKeys(json: string): Promise<LogKeys> {
  const keys = await readTokenKeys(json);
  const { retired } = retiredKeys.parse(JSON.parse(json));
  const known = new Map<string, CryptoKey>();
  for (const jwk of [...retired, ...(JSON.parse(keys.jwks) as { keys: Array<JWK & { kid: string }> }).keys]) {
    known.set(jwk.kid, (await importJWK(jwk, 'ES256')) as CryptoKey);
  }
  return {
    get signing() {
      return keys.signing;
    },
    known,
  };
}
