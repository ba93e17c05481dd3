import { PassThrough, Readable } from 'node:stream';
import type { TLSSocket } from 'node:tls';
import { SingleUseCredentials } from '../../../client/connect/credentials';
import { connectAttestedTls } from '../../../client/connect/tls';
import { connect } from '../../../client/index';
import { newNonce } from '../../../attestation/certificates/proof';
import { BulkSessionServiceClient } from '../../../runtime/rpc/bulk';
import { callUnary } from '../../../runtime/rpc/client';
import { startEnclaveFixture } from '../../support/enclave';
import type { EnclaveFixture } from '../../support/enclave';
import { eventually } from '../../support/eventually';
import { IMAGE_DIGEST } from '../../support/evidence';

let fixture: EnclaveFixture;
beforeAll(async () => {
  fixture = await startEnclaveFixture();
});
afterAll(() => fixture.stop());

const EVIDENCE_STEPS = [
  'ak_certificate',
  'ak_attributes',
  'signature',
  'quote',
  'pcr_digest',
  'root',
  'claims',
  'freshness',
  'certificate_hash',
  'identity',
  'policy',
];

test.each([
  ['TCP', false],
  ["the enclave's tunnel", true],
])('over %s: verified in the order of trust, then a command works', async (_name, tunnel) => {
  const steps: string[] = [];
  const session = await fixture.session({ tunnel });
  const connection = await connect(fixture.trust, session, {
    onStep: ({ phase, step }) => steps.push(`${phase} ${step}`),
  });
  expect(steps).toEqual([
    ...EVIDENCE_STEPS.map((step) => `login ${step}`),
    'login revocation',
    'connection certificate',
    'connection connection',
    ...EVIDENCE_STEPS.map((step) => `session ${step}`),
    'session session',
  ]);
  const stdout = new PassThrough();
  const exit = await connection.exec(['sha256sum', '-'], {
    stdin: Readable.from([Buffer.from('hello')]),
    stdout,
    stderr: process.stderr,
  });
  expect(exit).toEqual({ code: 0, signal: '' });
  expect(String(stdout.read())).toBe('2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824  -\n');
  expect(await connection.status()).toMatchObject({
    user: fixture.user,
    workloadUid: fixture.workloadUid,
    sessions: 1,
    commands: 0,
  });
  connection.close();
  expect(await connection.closed).toBeUndefined();
});

test('after close, nothing connects again by itself', async () => {
  const connection = await connect(fixture.trust, await fixture.session());
  connection.close();
  await connection.closed;
  await expect(connection.status()).toRejectWithCode('connection.closed');
});

test('a field of the policy that is undefined lifts no limit of the trust bundle', async () => {
  const strict = { ...fixture.trust, policy: { ...fixture.trust.policy, imageDigests: [`sha256:${'1'.repeat(64)}`] } };
  const session = await fixture.session();
  await expect(connect(strict, session, { policy: { imageDigests: undefined } })).toRejectWithCode(
    'policy.image_digest',
  );
  const connection = await connect(strict, session, { policy: { imageDigests: [IMAGE_DIGEST] } });
  connection.close();
});

test('a connection that was cut is not replaced by another one, however often it is asked', async () => {
  const { clientKey, clientCertificates, evidence, enclave } = await fixture.session();
  const sockets: TLSSocket[] = [];
  const credentials = new SingleUseCredentials(async (dialled) => {
    const options = {
      certificate: evidence.enclaveCertificate,
      clientKey,
      clientCertificates,
      trustDomain: fixture.trust.trustDomain,
    };
    sockets.push(await connectAttestedTls(dialled, options));
    return sockets[0]!;
  });
  let tries = 0;
  const createConnector = credentials._createSecureConnector.bind(credentials);
  jest.spyOn(credentials, '_createSecureConnector').mockImplementation((...given) => {
    const connector = createConnector(...given);
    return { ...connector, connect: (...dialled) => ((tries += 1), connector.connect(...dialled)) };
  });
  const client = new BulkSessionServiceClient(enclave.tlsAddress, credentials, {
    'grpc.initial_reconnect_backoff_ms': 100,
    'grpc.max_reconnect_backoff_ms': 100,
  });
  await callUnary(client, client.attest, { nonce: newNonce() }, { timeout: 120_000 });
  sockets[0]!.destroy();
  await eventually(async () => {
    await expect(callUnary(client, client.attest, { nonce: newNonce() }, { timeout: 120_000 })).toRejectWithCode(
      'rpc.unavailable',
    );
    return tries > 3;
  });
  expect(sockets).toHaveLength(1);
  client.close();
});
