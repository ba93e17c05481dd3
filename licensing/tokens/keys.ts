import { calculateJwkThumbprint, exportJWK, generateKeyPair, importJWK } from 'jose';
import type { CryptoKey, JWK } from 'jose';
import { z } from 'zod';
import { TOKEN_ALGORITHM } from '../../attestation/tokens/algorithm';
import { systemClock } from '../../runtime/clock';
import type { Clock } from '../../runtime/clock';
import { CodedError } from '../../errors/coded-error';

/** Keys that sign and verify tokens. */
export interface TokenKeys {
  /** The first of the set whose time has begun: signs new tokens. */
  readonly signing: { kid: string; key: CryptoKey };
  /** By `kid`: all of the set verify until their time ends, so that tokens of the key before still count while a new one is rolled out. */
  readonly verifying: { get(kid: string): CryptoKey | undefined };
  /** The public halves as a JWK Set (RFC 7517, 5), JSON text. */
  jwks: string;
}

/** A key file that can't be used. The message holds no key. */
class TokenKeysError extends CodedError<'token.keys_invalid'> {
  override readonly name = 'TokenKeysError';

  constructor(message: string, options?: ErrorOptions) {
    super('token.keys_invalid', message, options);
  }
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
  /** Unix seconds between which the key is used; the names are those of OpenID Federation 1.0, 8.7. */
  nbf: z.number().int().optional(),
  exp: z.number().int().optional(),
});
const privateKeySet = z.object({ keys: z.array(privateKey).min(1) });

/** Makes a private P-256 key as JWK, named by its thumbprint (RFC 7638). A secret. */
export async function generateSigningKey(): Promise<JWK & { kid: string }> {
  const pair = await generateKeyPair(TOKEN_ALGORITHM, { extractable: true });
  const jwk = await exportJWK(pair.privateKey);
  return { ...jwk, kid: await calculateJwkThumbprint(jwk), alg: TOKEN_ALGORITHM, use: 'sig' };
}

/** Makes a key: a JWK Set with one private P-256 key, JSON text, as TOKEN_KEYS_FILE holds it. A secret. */
export async function generateTokenKeys(): Promise<string> {
  return JSON.stringify({ keys: [await generateSigningKey()] });
}

/**
 * Reads a private JWK Set. To rotate, put the new key first, with `nbf` at a time by which every program has read it, and leave the old one
 * behind it with `exp` at the end of its last token. A key without `kid` gets its thumbprint (RFC 7638).
 * @param clock decides at every use which key signs
 * @throws TokenKeysError
 */
export async function readTokenKeys(json: string, clock: Pick<Clock, 'now'> = systemClock): Promise<TokenKeys> {
  let parsed: z.infer<typeof privateKeySet>;
  try {
    parsed = privateKeySet.parse(JSON.parse(json));
  } catch (error) {
    // The reasons of a schema name fields, never values; those of a JSON parser quote the text.
    const reason =
      error instanceof z.ZodError
        ? error.issues.map(({ path, message }) => `${path.join('.')}: ${message}`).join('; ')
        : 'not JSON';
    throw new TokenKeysError(`expected a JWK Set of private P-256 keys: ${reason}`);
  }
  const verifying = new Map<string, { key: CryptoKey; exp: number }>();
  const publicKeys: JWK[] = [];
  const signers: Array<{ kid: string; key: CryptoKey; nbf: number }> = [];
  for (const { d, nbf = 0, exp = Infinity, ...half } of parsed.keys) {
    const kid = half.kid ?? (await calculateJwkThumbprint(half));
    if (verifying.has(kid)) throw new TokenKeysError(`expected every kid once, got ${JSON.stringify(kid)} twice`);
    const publicJwk: JWK = { ...half, kid, alg: TOKEN_ALGORITHM, use: 'sig' };
    try {
      verifying.set(kid, { key: (await importJWK(publicJwk, TOKEN_ALGORITHM)) as CryptoKey, exp });
      signers.push({ kid, key: (await importJWK({ ...publicJwk, d }, TOKEN_ALGORITHM)) as CryptoKey, nbf });
    } catch {
      throw new TokenKeysError(`expected a P-256 key, got one that is not (kid ${JSON.stringify(kid)})`);
    }
    publicKeys.push(publicJwk);
  }
  const seconds = (): number => clock.now() / 1000;
  return {
    get signing() {
      // One that has not begun is better than none: a set whose only key is of the future is a clock that is wrong.
      return signers.find(({ nbf }) => nbf <= seconds()) ?? signers[signers.length - 1]!;
    },
    verifying: {
      get(kid) {
        const found = verifying.get(kid);
        return found && seconds() < found.exp ? found.key : undefined;
      },
    },
    jwks: JSON.stringify({ keys: publicKeys }),
  };
}
