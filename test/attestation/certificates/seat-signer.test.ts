import 'reflect-metadata';
import { generateKeyPairSync } from 'node:crypto';
import { SubjectAlternativeNameExtension } from '@peculiar/x509';
import { JWT_SIGNING, seatSignerName, verifySeatSigner } from '../../../attestation/certificates/seat-signer';
import { makeAuthority, makeLeaf } from '../../support/authority';

test.each([
  ['P-256', undefined],
  ['P-384', 'certificate.weak_key'],
] as const)('a signer whose key is on %s: %s', async (namedCurve, code) => {
  const ca = await makeAuthority('client CA');
  const certificate = await makeLeaf(ca, {
    publicKey: generateKeyPairSync('ec', { namedCurve }).publicKey.export({ format: 'der', type: 'spki' }),
    usages: [JWT_SIGNING],
    extensions: [new SubjectAlternativeNameExtension([{ type: 'url', value: seatSignerName('sls.test') }])],
  });
  const verify = (): unknown =>
    verifySeatSigner([certificate], ca.certificate, { trustDomain: 'sls.test', now: new Date() });
  if (code === undefined) expect(verify).not.toThrow();
  else expect(verify).toThrowWithCode(code);
});
