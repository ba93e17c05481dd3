import { generateKeyPairSync, sign } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import { newNonce, NONCE_BYTES, signProof, verifyProof } from '../../../attestation/certificates/proof';

const one = generateKeyPairSync('ec', { namedCurve: 'P-256' });
const two = generateKeyPairSync('ec', { namedCurve: 'P-256' });

test('1,000 nonces are all distinct, 32 random bytes: each bit is as often set as not', () => {
  const nonces = Array.from({ length: 1000 }, newNonce);
  expect(new Set(nonces.map((nonce) => nonce.toString('hex'))).size).toBe(1000);
  expect(nonces.every(({ length }) => length === NONCE_BYTES)).toBe(true);
  for (let bit = 0; bit < NONCE_BYTES * 8; bit++) {
    const set = nonces.filter((nonce) => ((nonce[bit >> 3]! >> (bit & 7)) & 1) === 1).length;
    // Six standard deviations.
    expect(Math.abs(set - 500)).toBeLessThan(95);
  }
});

describe('a proof', () => {
  const nonce = newNonce();
  const proof = signProof(one.privateKey, nonce);

  const signed = (key: KeyObject, over: Buffer): Buffer =>
    sign('sha256', Buffer.concat([Buffer.from('sls attest v1\0'), over]), { key, dsaEncoding: 'ieee-p1363' });

  test('is signed over a nonce by a key on P-256, and nothing else', () => {
    expect(() => signProof(one.privateKey, nonce.subarray(1))).toThrow(TypeError);
    const p384 = generateKeyPairSync('ec', { namedCurve: 'P-384' });
    expect(() => signProof(p384.privateKey, nonce)).toThrow(TypeError);
    expect(verifyProof(one.publicKey, nonce, signed(one.privateKey, nonce))).toBe(true);
  });

  test('holds for its key and nonce', () => {
    expect(verifyProof(one.publicKey, nonce, proof)).toBe(true);
    expect(verifyProof(one.publicKey.export({ type: 'spki', format: 'der' }), nonce, proof)).toBe(true);
  });

  test.each<[string, () => boolean]>([
    ['another nonce', () => verifyProof(one.publicKey, newNonce(), proof)],
    ['base64 of the nonce', () => verifyProof(one.publicKey, Buffer.from(nonce.toString('base64')), proof)],
    ['another key', () => verifyProof(two.publicKey, nonce, proof)],
    [
      'a key on another curve',
      () => verifyProof(generateKeyPairSync('ec', { namedCurve: 'P-384' }).publicKey, nonce, proof),
    ],
    ['bytes that are no key', () => verifyProof(Buffer.from('key'), nonce, proof)],
    ['a byte more', () => verifyProof(one.publicKey, nonce, Buffer.concat([proof, Buffer.alloc(1)]))],
    [
      'a nonce of another size',
      () => verifyProof(one.publicKey, nonce.subarray(1), signed(one.privateKey, nonce.subarray(1))),
    ],
    [
      'a key on another curve whose signatures are as long',
      () => {
        const other = generateKeyPairSync('ec', { namedCurve: 'secp256k1' });
        return verifyProof(other.publicKey, nonce, signed(other.privateKey, nonce));
      },
    ],
    ['zeros', () => verifyProof(one.publicKey, nonce, Buffer.alloc(64))],
  ])('does not hold for %s', (_title, verify) => {
    expect(verify()).toBe(false);
  });
});
