import { generateKeyPairSync } from 'node:crypto';
import { isRocaModulus } from '../../../attestation/tpm/roca';
import { parsePublic } from '../../../attestation/tpm/public';
import { encodeRsaPublic } from '../../support/tpm-structures';
import { rocaModulus } from '../../support/weak-keys';

test('ROCA: a modulus of the broken generator is refused as a weak key', () => {
  for (const power of [1, 77, 4242]) expect(isRocaModulus(rocaModulus(power))).toBe(true);
  const { publicKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  expect(() => parsePublic(encodeRsaPublic(publicKey, { modulus: rocaModulus(1000) }))).toThrowWithCode('tpm.weak_key');
});

test('sound moduli pass', () => {
  for (let round = 0; round < 3; round++) {
    const { n = '' } = generateKeyPairSync('rsa', { modulusLength: 1024 }).publicKey.export({ format: 'jwk' });
    expect(isRocaModulus(Buffer.from(n, 'base64url'))).toBe(false);
  }
});
