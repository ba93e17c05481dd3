import { calculateJwkThumbprint } from 'jose';
import { z } from 'zod';
import { importJwk } from '../crypto';

/** 32 bytes in base64url, written in the one way that leaves no bits over: keys are compared as texts. */
const COORDINATE = /^[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]$/;

/** A public P-256 key as JWK (RFC 7518, 6.2.1). A private key in its place is refused, not published. Other members are passed over (RFC 7517, 4). */
export const publicKeySchema = z
  .object({
    kty: z.literal('EC'),
    crv: z.literal('P-256'),
    x: z.string().regex(COORDINATE),
    y: z.string().regex(COORDINATE),
    kid: z.string().min(1).max(128),
    alg: z.literal('ES256'),
    use: z.literal('sig'),
    d: z.never('expected a public key, got a private one').optional(),
  })
  .refine((jwk) => {
    try {
      importJwk(jwk);
      return true;
    } catch {
      return false;
    }
  }, 'expected a point on P-256');

/** A public P-256 key as JWK, with the name that signatures refer to. */
export type PublicKey = Omit<z.infer<typeof publicKeySchema>, 'd'>;

/** True when both are one key, whatever they are called. */
export function isSameKey(a: PublicKey, b: PublicKey): boolean {
  return a.x === b.x && a.y === b.y;
}

/** What a person compares before they trust a key: SHA256: and its thumbprint (RFC 7638), base64url. */
export async function fingerprint({ kty, crv, x, y }: PublicKey): Promise<string> {
  return `SHA256:${await calculateJwkThumbprint({ kty, crv, x, y }, 'sha256')}`;
}

/** The public half of a private JWK, in the form that a bundle takes. @throws z.ZodError, TypeError */
export async function publicHalf(jwk: {
  kty?: string;
  crv?: string;
  x?: string;
  y?: string;
  kid?: string;
}): Promise<PublicKey> {
  const { kty, crv, x, y } = jwk;
  const half = { kty: kty ?? '', crv: crv ?? '', x: x ?? '', y: y ?? '' };
  return publicKeySchema.parse({
    ...half,
    kid: jwk.kid ?? (await calculateJwkThumbprint(half)),
    alg: 'ES256',
    use: 'sig',
  });
}
