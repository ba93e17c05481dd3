import { createPublicKey, generateKeyPairSync } from 'node:crypto';
import { issueAttestationKeyCertificate, verifyAttestationKeyChain } from '../../../core/certificates/attestation-key';
import { makeAuthority } from '../../support/authority';

test('a certificate is issued, verified up to its root and read', async () => {
  const ca = await makeAuthority('root');
  const { publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const akPublicKey = publicKey.export({ format: 'der', type: 'spki' });
  const details = { ekSha256: 'ab'.repeat(32), manufacturer: 'IBM', model: 'swtpm', firmware: '20240125', software: true };
  const der = await issueAttestationKeyCertificate({ ca, trustDomain: 'sls.local', node: 'node-1.example', akPublicKey, details, days: 7 });
  const read = verifyAttestationKeyChain([der], [ca.certificate], new Date());
  expect(read).toMatchObject({ trustDomain: 'sls.local', node: 'node-1.example', details });
  expect(read.publicKey.equals(createPublicKey(publicKey.export({ format: 'pem', type: 'spki' })))).toBe(true);
});
