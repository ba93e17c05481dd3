import 'reflect-metadata';
import { generateKeyPairSync } from 'node:crypto';
import { SubjectAlternativeNameExtension } from '@peculiar/x509';
import { CLIENT_AUTH } from '../../../attestation/certificates/admin';
import { ADMIN_PROOF_TYPE, readCertificate } from '../../../attestation/tokens/admin-proof';
import { makeAuthority, makeLeaf } from '../../support/authority';

test.each([
  ['P-256', undefined],
  ['P-384', 'admin.certificate'],
] as const)("an administrator's certificate whose key is on %s: %s", async (namedCurve, code) => {
  const ca = await makeAuthority('admin CA');
  const certificate = await makeLeaf(ca, {
    publicKey: generateKeyPairSync('ec', { namedCurve }).publicKey.export({ format: 'der', type: 'spki' }),
    usages: [CLIENT_AUTH],
    extensions: [new SubjectAlternativeNameExtension([{ type: 'url', value: 'spiffe://sls.test/admin/root' }])],
  });
  const header = { alg: 'ES256', typ: ADMIN_PROOF_TYPE, x5c: [certificate.toString('base64')] };
  const proof = `${Buffer.from(JSON.stringify(header)).toString('base64url')}.e30.AAAA`;
  const read = (): unknown =>
    readCertificate(proof, { rootsPem: ca.certificate, trustDomain: 'sls.test', now: new Date() });
  if (code === undefined) expect(read()).toMatchObject({ name: 'root' });
  else expect(read).toThrowWithCode(code);
});
