import { ECDH, generateKeyPairSync, sign } from 'node:crypto';
import fc from 'fast-check';
import { DER, encodeDer } from '../../attestation/bytes/der';
import {
  describeKey,
  exportSpki,
  importJwk,
  importSpki,
  isP256,
  isSameKey,
  sha256,
  signEcdsa,
  verifyEcdsa,
  verifySignature,
} from '../../attestation/crypto';
import { encodePoint } from '../support/points';

/** The ways in which RFC 5480 and X9.62 let one key be written. */
const explicit = generateKeyPairSync('ec', { namedCurve: 'P-256', paramEncoding: 'explicit' }).publicKey;

describe.each([
  ['P-256', 'prime256v1', '1.2.840.10045.3.1.7'],
  ['P-384', 'secp384r1', '1.3.132.0.34'],
  ['P-521', 'secp521r1', '1.3.132.0.35'],
] as const)('a key on %s', (curve, name, oid) => {
  const spki = generateKeyPairSync('ec', { namedCurve: name }).publicKey.export({ format: 'der', type: 'spki' });

  test('in its usual form is what it is by way of a JWK', () => {
    const jwk = importSpki(spki).export({ format: 'jwk' });
    expect(exportSpki(importSpki(spki))).toEqual(exportSpki(importJwk(jwk)));
    expect(exportSpki(importSpki(spki))).toEqual(spki);
  });

  test.each(['compressed', 'hybrid', 'uncompressed'] as const)(
    'whose point is written %s is known by one encoding',
    (form) => {
      const key = importSpki(encodePoint(spki, name, oid, form));
      expect(exportSpki(key)).toEqual(spki);
      expect(isSameKey(key, importSpki(spki))).toBe(true);
      expect(describeKey(key)).toEqual({ type: 'ec', curve });
    },
  );
});

test('a curve written by its parameters is the curve by its name', () => {
  const written = explicit.export({ format: 'der', type: 'spki' });
  const { x, y } = explicit.export({ format: 'jwk' });
  const point = Buffer.concat([Buffer.from([4]), Buffer.from(x ?? '', 'base64url'), Buffer.from(y ?? '', 'base64url')]);
  expect(written.length).toBeGreaterThan(300);
  expect(exportSpki(importSpki(written))).toHaveLength(91);
  expect(exportSpki(importSpki(written)).subarray(-65)).toEqual(point);
  expect(ECDH.convertKey(point, 'prime256v1', undefined, undefined, 'compressed')).toHaveLength(33);
});

test('an RSA key without the parameters of its algorithm is the one with them', () => {
  const spki = generateKeyPairSync('rsa', { modulusLength: 2048 }).publicKey.export({ format: 'der', type: 'spki' });
  const without = encodeDer(DER.SEQUENCE, Buffer.from('300b06092a864886f70d010101', 'hex'), spki.subarray(19));
  expect(exportSpki(importSpki(without))).toEqual(spki);
});

test('whatever the bytes: an error, or a key that is known by one encoding', () => {
  const spki = generateKeyPairSync('ec', { namedCurve: 'P-256' }).publicKey.export({ format: 'der', type: 'spki' });
  fc.assert(
    fc.property(fc.nat(spki.length - 1), fc.integer({ min: 0, max: 255 }), (at, value) => {
      const bytes = Buffer.from(spki);
      bytes[at] = value;
      let once: Buffer;
      try {
        once = exportSpki(importSpki(bytes));
      } catch {
        return;
      }
      expect(exportSpki(importSpki(once))).toEqual(once);
    }),
    { numRuns: 1000 },
  );
  expect(sha256(Buffer.from('a'), Buffer.from('bc'))).toEqual(sha256(Buffer.from('abc')));
});

test('a key on a curve that JWK has no name for is read, and described as none that is taken', () => {
  for (const namedCurve of ['secp224r1', 'brainpoolP256r1', 'secp256k1']) {
    const spki = generateKeyPairSync('ec', { namedCurve }).publicKey.export({ format: 'der', type: 'spki' });
    expect(describeKey(importSpki(spki))).toEqual({ type: 'ec', curve: undefined });
  }
});

test('two keys are two, and one on P-256 is told from others', () => {
  const ec = (namedCurve: string) => generateKeyPairSync('ec', { namedCurve }).publicKey;
  const key = ec('P-256');
  expect(isSameKey(key, importSpki(exportSpki(key)))).toBe(true);
  expect(isSameKey(key, ec('P-256'))).toBe(false);
  expect(isP256(key)).toBe(true);
  for (const other of [ec('P-384'), ec('secp256k1'), generateKeyPairSync('rsa', { modulusLength: 2048 }).publicKey])
    expect(isP256(other)).toBe(false);
});

test('a signature holds for its own data and key', () => {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const [data, other] = [Buffer.from('data'), Buffer.from('other')];
  const signature = signEcdsa(privateKey, data);
  expect(verifyEcdsa(publicKey, data, signature)).toBe(true);
  expect(verifyEcdsa(publicKey, other, signature)).toBe(false);
  expect(verifyEcdsa(publicKey, data, sign('sha256', data, privateKey))).toBe(false);
  const der = sign('sha256', data, privateKey);
  expect(verifySignature(publicKey, { type: 'ec', hash: 'sha256' }, data, der)).toBe(true);
  expect(verifySignature(publicKey, { type: 'ec', hash: 'sha256' }, other, der)).toBe(false);
  expect(verifySignature(publicKey, { type: 'ec', hash: 'sha384' }, data, der)).toBe(false);
});

test('a key of another kind than the algorithm verifies nothing, not even its own signature', () => {
  const data = Buffer.from('data');
  const pairs = {
    ec: generateKeyPairSync('ec', { namedCurve: 'P-256' }),
    rsa: generateKeyPairSync('rsa', { modulusLength: 2048 }),
  };
  for (const [type, { privateKey, publicKey }] of Object.entries(pairs)) {
    const signature = sign('sha256', data, privateKey);
    for (const claimed of ['ec', 'rsa'] as const)
      expect(verifySignature(publicKey, { type: claimed, hash: 'sha256' }, data, signature)).toBe(claimed === type);
  }
});

test('a key that is neither EC nor RSA is described by its name alone', () => {
  expect(describeKey(generateKeyPairSync('ed25519').publicKey)).toEqual({ type: 'other', name: 'ed25519' });
});
