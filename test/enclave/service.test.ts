import { generateKeyPairSync, randomBytes, randomUUID, X509Certificate } from 'node:crypto';
import { newNonce, signProof } from '../../attestation/certificates/proof';
import { callUnary } from '../../runtime/rpc/client';
import { openEnclave } from '../../client/channel';
import { privateKey } from '../../client/key';
import { EnclaveServiceClient } from '../../proto/gen/licensing/v1/enclave';
import type { EnclaveServiceAttestRequest } from '../../proto/gen/licensing/v1/enclave';
import { Claims, Purpose } from '../../proto/gen/licensing/v1/evidence';
import { makeClient, startEnclaveFixture } from '../support/enclave';
import type { EnclaveFixture, SessionOptions } from '../support/enclave';
import { makeIdentity } from '../../enclave/identity';

let fixture: EnclaveFixture;
let service: EnclaveServiceClient;
beforeAll(async () => {
  fixture = await startEnclaveFixture();
  service = openEnclave(EnclaveServiceClient, `http://127.0.0.1:${fixture.enclave.ports.listen}`, fixture.trust);
});
afterAll(async () => {
  service.close();
  await fixture.stop();
});

async function request(
  options: SessionOptions = {},
  change: Partial<EnclaveServiceAttestRequest> = {},
): Promise<EnclaveServiceAttestRequest> {
  const { clientKey, clientCertificates } = await makeClient(fixture, options);
  const nonce = newNonce();
  return {
    nonce,
    clientCertificates,
    proof: signProof(privateKey(clientKey), nonce),
    includeEventLog: false,
    ...change,
  };
}

const attest = (message: EnclaveServiceAttestRequest): Promise<unknown> =>
  callUnary(service, service.attest, message, { timeout: 120_000 });

test('evidence is about this enclave, for the nonce and the key of the certificate', async () => {
  const message = await request();
  const { evidence } = await callUnary(service, service.attest, message, { timeout: 120_000 });
  const { certificate } = await callUnary(service, service.getCertificate, {}, { timeout: 120_000 });
  const claims = Claims.decode(evidence!.claims);
  expect(claims).toMatchObject({ purpose: Purpose.PURPOSE_CERTIFICATE, nonce: message.nonce, user: fixture.user });
  expect(claims.tlsExporter).toHaveLength(0);
  expect(evidence!.enclaveCertificate.equals(certificate)).toBe(true);
});

test('without a certificate of this user, the TPM is not asked', async () => {
  const before = fixture.attestor.requests.length;
  await expect(attest(await request({ user: randomUUID() }))).toRejectWithCode('enclave.other_user');
  await expect(attest(await request({ now: new Date(Date.now() - 7_200_000) }))).toRejectWithCode(
    'certificate.expired',
  );
  await expect(attest(await request({}, { clientCertificates: [] }))).toRejectWithCode('certificate.malformed');
  await expect(attest(await request({}, { clientCertificates: [randomBytes(300)] }))).toRejectWithCode(
    'certificate.malformed',
  );
  expect(fixture.attestor.requests).toHaveLength(before);
});

test('without a proof by the certified key over this nonce, the TPM is not asked', async () => {
  const before = fixture.attestor.requests.length;
  const { privateKey: other } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const message = await request();
  await expect(attest({ ...message, proof: signProof(other, message.nonce) })).toRejectWithCode('enclave.proof');
  await expect(attest({ ...message, nonce: newNonce() })).toRejectWithCode('enclave.proof');
  await expect(attest({ ...message, proof: Buffer.alloc(0) })).toRejectWithCode('enclave.proof');
  await expect(attest({ ...message, nonce: message.nonce.subarray(1) })).toRejectWithCode('enclave.nonce');
  await expect(attest({ ...message, nonce: Buffer.from(message.nonce.toString('base64')) })).toRejectWithCode(
    'enclave.nonce',
  );
  expect(fixture.attestor.requests).toHaveLength(before);
});

test('an identity is a fresh P-256 key with a certificate that says nothing about its user', async () => {
  const [one, two] = [await makeIdentity('sls.test'), await makeIdentity('sls.test')];
  const certificate = new X509Certificate(one.certificate);
  expect(certificate.publicKey.asymmetricKeyDetails).toEqual({ namedCurve: 'prime256v1' });
  expect(certificate.verify(certificate.publicKey)).toBe(true);
  expect(certificate.ca).toBe(false);
  expect(certificate.subjectAltName).toBe('DNS:enclave.sls.test');
  expect(one.certificateSha256.equals(two.certificateSha256)).toBe(false);
  expect(certificate.subject).not.toBe(new X509Certificate(two.certificate).subject);
  expect(certificate.serialNumber).not.toBe(new X509Certificate(two.certificate).serialNumber);
  expect(new Date(certificate.validTo).getUTCFullYear()).toBe(9999);
});
