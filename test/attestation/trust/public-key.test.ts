import { generateKeyPairSync } from 'node:crypto';
import { fingerprint, isSameKey, publicHalf, publicKeySchema } from '../../../attestation/trust/public-key';
import { makeSigningKey } from '../../support/trust';

const { publicKey, privateKey } = makeSigningKey('key');
const other = makeSigningKey('key').publicKey;

test('a key is the same under another name, and another one with either of its numbers', () => {
  expect(isSameKey(publicKey, { ...publicKey, kid: 'renamed' })).toBe(true);
  expect(isSameKey(publicKey, other)).toBe(false);
  // (x, -y) is on the curve as well: the key whose private half is the negative one.
  expect(isSameKey(publicKey, { ...publicKey, y: other.y })).toBe(false);
  expect(isSameKey(publicKey, { ...publicKey, x: other.x })).toBe(false);
});

test('the public half of a private key is in the form of a bundle, named by its thumbprint where it has no name', async () => {
  expect(await publicHalf(privateKey)).toEqual(publicKey);
  const { kid: _, ...nameless } = privateKey;
  const { kid } = await publicHalf(nameless);
  expect(`SHA256:${kid}`).toBe(await fingerprint(publicKey));
  await expect(publicHalf({ ...privateKey, x: 'AA' })).rejects.toThrow();
});

test('a number that is no point on the curve, and a key on another one, are refused', () => {
  expect(publicKeySchema.safeParse(publicKey).success).toBe(true);
  expect(publicKeySchema.safeParse({ ...publicKey, y: publicKey.x }).success).toBe(false);
  const { x, y } = generateKeyPairSync('ec', { namedCurve: 'secp256k1' }).publicKey.export({ format: 'jwk' });
  expect(publicKeySchema.safeParse({ ...publicKey, crv: 'secp256k1', x, y }).success).toBe(false);
});
