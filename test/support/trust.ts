import { generateKeyPairSync, randomUUID } from 'node:crypto';
import type { JWK } from 'jose';
import type { PublicKey } from '../../attestation/trust/public-key';

/** A P-256 key of a test's own, as JWK: the private one is a secret nowhere else. */
export interface TestSigningKey {
  privateKey: JWK & { kid: string };
  publicKey: PublicKey;
}

export function makeSigningKey(kid: string = randomUUID()): TestSigningKey {
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const jwk = privateKey.export({ format: 'jwk' }) as { x: string; y: string; d: string };
  const publicKey: PublicKey = { kty: 'EC', crv: 'P-256', x: jwk.x, y: jwk.y, kid, alg: 'ES256', use: 'sig' };
  return { publicKey, privateKey: { ...publicKey, d: jwk.d } };
}

/** The fields of a trust bundle which no test of other fields looks at. */
export function trustBundleKeys(): { sequence: number; trustKey: PublicKey; revocationKeys: { keys: PublicKey[] } } {
  return {
    sequence: 1,
    trustKey: makeSigningKey('trust').publicKey,
    revocationKeys: { keys: [makeSigningKey('revocation').publicKey] },
  };
}
