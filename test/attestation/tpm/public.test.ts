import { createHash, generateKeyPairSync } from 'node:crypto';
import { TPM_ALG, TPM_ECC_CURVE } from '../../../attestation/tpm/constants';
import { hasAttribute, parsePublic, publicKeyObject, publicName } from '../../../attestation/tpm/public';
import { encodeEccPublic, encodeRsaPublic } from '../../support/tpm-structures';

const ecc = generateKeyPairSync('ec', { namedCurve: 'P-256' }).publicKey;
const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 }).publicKey;

test('an EC key is read with its attributes, name and SPKI', () => {
  const bytes = encodeEccPublic(ecc);
  const key = parsePublic(bytes);
  expect(key).toMatchObject({
    type: 'ecc',
    curve: 'P-256',
    scheme: { algorithm: TPM_ALG.ECDSA, hash: TPM_ALG.SHA256 },
    symmetric: undefined,
  });
  expect(hasAttribute(key, 'restricted')).toBe(true);
  expect(hasAttribute(key, 'decrypt')).toBe(false);
  expect(publicName(key).toString('hex')).toBe(`000b${createHash('sha256').update(bytes).digest('hex')}`);
  expect(publicKeyObject(key).export({ format: 'der', type: 'spki' })).toEqual(
    ecc.export({ format: 'der', type: 'spki' }),
  );
});

test('an RSA key is read with its SPKI; exponent zero stands for 65537', () => {
  const key = parsePublic(encodeRsaPublic(rsa));
  expect(key).toMatchObject({ type: 'rsa', keyBits: 2048, exponent: 65537 });
  expect(publicKeyObject(key).export({ format: 'der', type: 'spki' })).toEqual(
    rsa.export({ format: 'der', type: 'spki' }),
  );
});

test('coordinates with fewer bytes than the curve has are padded', () => {
  const padded = parsePublic(encodeEccPublic(ecc, { x: Buffer.alloc(31, 1), y: Buffer.from([5]) }));
  expect(padded).toMatchObject({
    x: Buffer.concat([Buffer.alloc(1), Buffer.alloc(31, 1)]),
    y: Buffer.concat([Buffer.alloc(31), Buffer.from([5])]),
  });
});

test('a point that is not on its curve is an error, not a crash', () => {
  const key = parsePublic(encodeEccPublic(ecc, { x: Buffer.alloc(32, 1), y: Buffer.alloc(32, 1) }));
  expect(() => publicKeyObject(key)).toThrowWithCode('tpm.invalid');
});

describe('weak keys are refused', () => {
  test.each([
    ['P-192', TPM_ECC_CURVE.P192],
    ['P-224', TPM_ECC_CURVE.P224],
    ['BN P-256', 0x0010],
  ])('curve %s', (_, curve) => {
    expect(() => parsePublic(encodeEccPublic(ecc, { curve }))).toThrowWithCode('tpm.weak_key');
  });

  test('RSA-1024', () => {
    const small = generateKeyPairSync('rsa', { modulusLength: 1024 }).publicKey;
    expect(() => parsePublic(encodeRsaPublic(small))).toThrowWithCode('tpm.weak_key');
  });

  test('RSA-16384 before anything computes with it', () => {
    const modulus = Buffer.alloc(2048, 0xff);
    expect(() => parsePublic(encodeRsaPublic(rsa, { modulus }))).toThrowWithCode('tpm.weak_key');
  });

  test('RSA that names other bits than it has', () => {
    expect(() => parsePublic(encodeRsaPublic(rsa, { keyBits: 4096 }))).toThrowWithCode('tpm.invalid');
    expect(() => parsePublic(encodeRsaPublic(rsa, { keyBits: 2048, modulus: Buffer.alloc(256, 1) }))).toThrowWithCode(
      'tpm.invalid',
    );
  });

  test('RSA with an even modulus', () => {
    const modulus = Buffer.alloc(256, 0x81);
    expect(parsePublic(encodeRsaPublic(rsa, { modulus }))).toMatchObject({ keyBits: 2048 });
    modulus.writeUInt8(0x80, 255);
    expect(() => parsePublic(encodeRsaPublic(rsa, { modulus }))).toThrowWithCode('tpm.invalid');
  });

  test('RSA with exponent 3', () => {
    expect(() => parsePublic(encodeRsaPublic(rsa, { exponent: 3 }))).toThrowWithCode('tpm.weak_key');
  });

  test('a Name by SHA-1', () => {
    expect(() => parsePublic(encodeEccPublic(ecc, { nameAlgorithm: TPM_ALG.SHA1 }))).toThrowWithCode('tpm.unsupported');
  });
});

test('an RSA modulus just as long as it says is taken', () => {
  const modulus = Buffer.concat([Buffer.from([0x80]), Buffer.alloc(255, 1)]);
  expect(parsePublic(encodeRsaPublic(rsa, { modulus }))).toMatchObject({ modulus });
});

test('an encryption scheme without a hash, a cipher that is AES or none', () => {
  const bytes = encodeRsaPublic(rsa);
  const withScheme = (scheme: string): Buffer =>
    Buffer.concat([bytes.subarray(0, 12), Buffer.from(scheme, 'hex'), bytes.subarray(16)]);
  expect(parsePublic(withScheme('0015'))).toMatchObject({ scheme: { algorithm: TPM_ALG.RSAES } });
  expect(parsePublic(withScheme('0010'))).toMatchObject({ scheme: { algorithm: TPM_ALG.NULL } });
  const withCipher = (cipher: string): Buffer =>
    Buffer.concat([bytes.subarray(0, 10), Buffer.from(cipher, 'hex'), bytes.subarray(12)]);
  expect(parsePublic(withCipher('000600800043'))).toMatchObject({
    symmetric: { algorithm: TPM_ALG.AES, keyBits: 128, mode: TPM_ALG.CFB },
  });
  // Camellia.
  expect(() => parsePublic(withCipher('002600800043'))).toThrowWithCode('tpm.unsupported');
});

test('ends within a structure, bytes after it, other types: a typed error', () => {
  const bytes = encodeEccPublic(ecc);
  for (let length = 0; length < bytes.length; length++)
    expect(() => parsePublic(bytes.subarray(0, length))).toThrowWithCode('tpm.truncated');
  expect(() => parsePublic(Buffer.concat([bytes, Buffer.alloc(1)]))).toThrowWithCode('tpm.trailing');
  expect(() => parsePublic(encodeEccPublic(ecc, { scheme: 0x9999 }))).toThrowWithCode('tpm.unsupported');
  for (const length of [0, 33]) {
    expect(() => parsePublic(encodeEccPublic(ecc, { x: Buffer.alloc(length, 1) }))).toThrowWithCode('tpm.invalid');
    expect(() => parsePublic(encodeEccPublic(ecc, { y: Buffer.alloc(length, 1) }))).toThrowWithCode('tpm.invalid');
  }
  expect(() => parsePublic(Buffer.concat([Buffer.from('0008', 'hex'), bytes.subarray(2)]))).toThrowWithCode(
    'tpm.unsupported',
  );
});
