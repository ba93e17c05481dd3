import { generateKeyPairSync } from 'node:crypto';
import { attestationKeyName, templateName } from '../../../attestation/tpm/attestation-key';
import { TPM_ALG } from '../../../attestation/tpm/constants';
import { parsePublic } from '../../../attestation/tpm/public';
import { encodeEccPublic } from '../../support/tpm-structures';

const ec = (namedCurve: string) => generateKeyPairSync('ec', { namedCurve }).publicKey;

test("the template's Name is that of a key made by the template", () => {
  const key = ec('P-256');
  expect(templateName(key)).toEqual(attestationKeyName(parsePublic(encodeEccPublic(key))));
});

test.each([
  ['P-384', () => ec('P-384')],
  ['P-521', () => ec('P-521')],
  ['secp256k1', () => ec('secp256k1')],
  ['RSA', () => generateKeyPairSync('rsa', { modulusLength: 2048 }).publicKey],
  ['Ed25519', () => generateKeyPairSync('ed25519').publicKey],
])('of a key %s there is no template', (_, make) => {
  expect(templateName(make())).toBeUndefined();
});

test('a Name by another hash is refused: nothing could be compared with it', () => {
  const area = parsePublic(encodeEccPublic(ec('P-256'), { nameAlgorithm: TPM_ALG.SHA384 }));
  expect(() => attestationKeyName(area)).toThrowWithCode('tpm.unsupported');
});
