import 'reflect-metadata';
import { SubjectAlternativeNameExtension } from '@peculiar/x509';
import {
  ADMIN_NAME,
  certificateTrustDomain,
  CLIENT_AUTH,
  verifyAdminCertificate,
} from '../../../attestation/certificates/admin';
import { certificatePem } from '../../../attestation/certificates/pem';
import { makeAuthority, makeLeaf } from '../../support/authority';
import type { TestAuthority } from '../../support/authority';

let ca: TestAuthority & { name: string };
beforeAll(async () => {
  ca = await makeAuthority('admin CA');
});

const certificateOf = (uri: string): Promise<Buffer> =>
  makeLeaf(ca, {
    usages: [CLIENT_AUTH],
    extensions: [new SubjectAlternativeNameExtension([{ type: 'url', value: uri }])],
  });

test.each(['root', 'a', '0', 'ada.b_c-d', 'a'.repeat(64)])('%s is a name of an administrator', async (name) => {
  const certificate = await certificateOf(`spiffe://sls.test/admin/${name}`);
  const verified = verifyAdminCertificate([certificate], ca.certificate, { trustDomain: 'sls.test', now: new Date() });
  expect(verified.name).toBe(name);
});

test.each(['', 'Root', '-root', 'ro/ot', 'root!', '!root', 'root\n', 'a'.repeat(65)])('%j is none', (name) => {
  expect(ADMIN_NAME.test(name)).toBe(false);
});

test('the trust domain is that of the one name of an administrator', async () => {
  expect(certificateTrustDomain(certificatePem(await certificateOf('spiffe://sls.test/admin/root')))).toBe('sls.test');
  for (const uri of ['spiffe://sls.test/user/a/session/b', 'https://else.test/spiffe://sls.test/admin/root']) {
    const pem = certificatePem(await certificateOf(uri));
    expect(() => certificateTrustDomain(pem)).toThrow(TypeError);
  }
  expect(() => certificateTrustDomain(certificatePem(Buffer.from('no certificate')))).toThrow(TypeError);
});
