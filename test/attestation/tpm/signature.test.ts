import { generateKeyPairSync, sign } from 'node:crypto';
import { TPM_ALG } from '../../../attestation/tpm/constants';
import { parseSignature, verifyEcdsaP256 } from '../../../attestation/tpm/signature';
import { encodeEcdsa, sized, u16 } from '../../support/tpm-structures';

const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
const rsassa = Buffer.concat([u16(TPM_ALG.RSASSA), u16(TPM_ALG.SHA256), sized(Buffer.alloc(256, 1))]);

/** Signs numbered texts until one of r and s begins with a zero byte. */
function shortSignature(): { data: Buffer; r: Buffer; s: Buffer } {
  for (let number = 0; ; number++) {
    const data = Buffer.from(String(number));
    const signature = sign('sha256', data, { key: privateKey, dsaEncoding: 'ieee-p1363' });
    const [r, s] = [signature.subarray(0, 32), signature.subarray(32)];
    if (r[0] === 0 || s[0] === 0) return { data, r, s };
  }
}
const strip = (number: Buffer): Buffer => number.subarray(number.findIndex((byte) => byte !== 0));

test('ECDSA r/s of 31 bytes verifies after padding', () => {
  const { data, r, s } = shortSignature();
  const signature = parseSignature(encodeEcdsa(strip(r), strip(s)));
  expect(strip(r).length + strip(s).length).toBeLessThan(64);
  expect(verifyEcdsaP256(publicKey, signature, data)).toBe(true);
  expect(verifyEcdsaP256(publicKey, signature, Buffer.from('another text'))).toBe(false);
});

test('numbers with zeros before them verify too', () => {
  const { data, r, s } = shortSignature();
  expect(verifyEcdsaP256(publicKey, parseSignature(encodeEcdsa(Buffer.concat([Buffer.alloc(16), r]), s)), data)).toBe(
    true,
  );
});

test('an RSA signature with an EC key is an error, not a crash', () => {
  expect(() => verifyEcdsaP256(publicKey, parseSignature(rsassa), Buffer.from('x'))).toThrowWithCode('tpm.unsupported');
});

test('an EC signature with an RSA key is an error, not a crash', () => {
  const rsa = generateKeyPairSync('rsa', { modulusLength: 1024 }).publicKey;
  expect(() =>
    verifyEcdsaP256(rsa, parseSignature(encodeEcdsa(Buffer.alloc(32, 1), Buffer.alloc(32, 1))), Buffer.from('x')),
  ).toThrowWithCode('tpm.unsupported');
});

test("a good signature that names another hash is an error: the hash is not the sender's to choose", () => {
  const { data, r, s } = shortSignature();
  expect(() => verifyEcdsaP256(publicKey, parseSignature(encodeEcdsa(r, s, TPM_ALG.SHA384)), data)).toThrowWithCode(
    'tpm.unsupported',
  );
});

test('a key on another curve is an error', () => {
  const other = generateKeyPairSync('ec', { namedCurve: 'P-384' }).publicKey;
  expect(() =>
    verifyEcdsaP256(other, parseSignature(encodeEcdsa(Buffer.alloc(32, 1), Buffer.alloc(32, 1))), Buffer.from('x')),
  ).toThrowWithCode('tpm.unsupported');
});

test('zero, and numbers beyond the curve, verify nothing', () => {
  for (const number of [Buffer.alloc(32), Buffer.alloc(32, 0xff), Buffer.alloc(48, 0xff)]) {
    expect(verifyEcdsaP256(publicKey, parseSignature(encodeEcdsa(number, number)), Buffer.from('x'))).toBe(false);
    const small = Buffer.alloc(32, 1);
    expect(verifyEcdsaP256(publicKey, parseSignature(encodeEcdsa(number, small)), Buffer.from('x'))).toBe(false);
    expect(verifyEcdsaP256(publicKey, parseSignature(encodeEcdsa(small, number)), Buffer.from('x'))).toBe(false);
  }
});

test('an RSA signature as long as the largest key is read, a longer one is not', () => {
  const of = (length: number): Buffer =>
    Buffer.concat([u16(TPM_ALG.RSASSA), u16(TPM_ALG.SHA256), sized(Buffer.alloc(length, 1))]);
  expect(parseSignature(of(512))).toEqual({
    algorithm: 'rsassa',
    hash: TPM_ALG.SHA256,
    signature: Buffer.alloc(512, 1),
  });
  for (const length of [0, 513]) expect(() => parseSignature(of(length))).toThrowWithCode('tpm.invalid');
});

test('other algorithms, weak hashes and malformed bytes: a typed error', () => {
  const good = encodeEcdsa(Buffer.alloc(32, 1), Buffer.alloc(32, 2));
  expect(() => parseSignature(encodeEcdsa(Buffer.alloc(32, 1), Buffer.alloc(32, 2), TPM_ALG.SHA1))).toThrowWithCode(
    'tpm.unsupported',
  );
  expect(() => parseSignature(Buffer.concat([u16(TPM_ALG.ECDAA), good.subarray(2)]))).toThrowWithCode(
    'tpm.unsupported',
  );
  expect(() => parseSignature(encodeEcdsa(Buffer.alloc(0), Buffer.alloc(32, 2)))).toThrowWithCode('tpm.invalid');
  expect(() => parseSignature(encodeEcdsa(Buffer.alloc(49, 1), Buffer.alloc(32, 2)))).toThrowWithCode('tpm.invalid');
  expect(() => parseSignature(Buffer.concat([good, Buffer.alloc(1)]))).toThrowWithCode('tpm.trailing');
  for (let length = 0; length < good.length; length++)
    expect(() => parseSignature(good.subarray(0, length))).toThrowWithCode('tpm.truncated');
});
