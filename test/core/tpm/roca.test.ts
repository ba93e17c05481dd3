import { generateKeyPairSync } from 'node:crypto';
import { isRocaModulus } from '../../../core/tpm/roca';
import { parsePublic } from '../../../core/tpm/public';
import { encodeRsaPublic } from '../../support/tpm-structures';

/** A modulus as two primes of the broken generator multiply to: a power of 65537 modulo the product of the first 39 primes. */
function rocaModulus(power: number): Buffer {
  const primes = Array.from({ length: 166 }, (_, at) => BigInt(at + 2)).filter((n) => Array.from({ length: Number(n) - 2 }, (_, at) => BigInt(at + 2)).every((d) => n % d !== 0n));
  expect(primes.length).toBe(39);
  const product = primes.reduce((all, prime) => all * prime, 1n);
  let residue = 1n;
  for (let at = 0; at < power; at++) residue = (residue * 65537n) % product;
  const factor = (1n << 2047n) / product + 12345n;
  return Buffer.from((factor * product + residue).toString(16), 'hex');
}

test('ROCA: a modulus of the broken generator is refused as a weak key', () => {
  for (const power of [1, 77, 4242]) expect(isRocaModulus(rocaModulus(power))).toBe(true);
  const { publicKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  expect(() => parsePublic(encodeRsaPublic(publicKey, { modulus: rocaModulus(1000) }))).toThrow(expect.objectContaining({ code: 'tpm.weak_key' }));
});

test('sound moduli pass', () => {
  for (let round = 0; round < 3; round++) {
    const { n = '' } = generateKeyPairSync('rsa', { modulusLength: 1024 }).publicKey.export({ format: 'jwk' });
    expect(isRocaModulus(Buffer.from(n, 'base64url'))).toBe(false);
  }
});
