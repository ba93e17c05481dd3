import { randomUUID } from 'node:crypto';
import { join } from 'node:path';
import { PassThrough, Readable } from 'node:stream';
import { startDaemon } from '../../attestor-daemon/daemon';
import type { RunningDaemon } from '../../attestor-daemon/daemon';
import { attest, connect } from '../../client/index';
import { parseAddress } from '../../runtime/rpc/address';
import { startEnclaveFixture } from '../support/enclave';
import type { EnclaveFixture } from '../support/enclave';
import { startTrustingEnrol } from '../support/enrol';
import type { TrustingEnrol } from '../support/enrol';
import { IMAGE_DIGEST, TRUST_DOMAIN } from '../support/evidence';
import { startNodeTpm } from '../support/node-tpm';
import type { NodeTpm } from '../support/node-tpm';

// The main flow with nothing fake in it: swtpm, the attestor, the enclave, TLS.
const node = 'node-1';
const [user, workloadUid] = [randomUUID(), randomUUID()];
let tpm: NodeTpm;
let enrol: TrustingEnrol;
let daemon: RunningDaemon;
let fixture: EnclaveFixture;
const socket = (): string => join(tpm.folder, 'attestor.sock');

function start(): Promise<RunningDaemon> {
  return startDaemon({
    listen: parseAddress(`unix:${socket()}`),
    tpm: tpm.tcti,
    node,
    stateDir: join(tpm.folder, 'state-of-attestor'),
    enrol: { address: enrol.address },
    identifier: {
      identify: () => Promise.resolve({ user, workloadUid, imageDigest: IMAGE_DIGEST, node }),
      isGone: () => Promise.resolve(false),
    },
    akHandle: '0x81010010',
    retry: { firstMs: 20, mostMs: 200 },
  });
}

beforeAll(async () => {
  tpm = await startNodeTpm();
  enrol = await startTrustingEnrol(join(tpm.folder, 'enrol.sock'), { trustDomain: TRUST_DOMAIN });
  daemon = await start();
  await daemon.ready;
  fixture = await startEnclaveFixture({
    foreign: { address: `unix:${socket()}`, node, attestationRoot: enrol.ca.certificate, user, workloadUid },
  });
});
afterAll(async () => {
  await fixture.stop();
  await daemon.stop();
  await enrol.stop();
  await tpm.stop();
});

test.each([
  ['TCP', false],
  ["the enclave's tunnel", true],
])('over %s: quoted by a TPM twice, then a command works', async (_name, tunnel) => {
  const connection = await connect(fixture.trust, await fixture.session({ tunnel }));
  expect(connection.evidence.session.warnings).toContainEqual(expect.objectContaining({ code: 'policy.software_tpm' }));
  const stdout = new PassThrough();
  await connection.exec(['cat'], { stdin: Readable.from([Buffer.from('hello')]), stdout, stderr: new PassThrough() });
  expect(String(stdout.read())).toBe('hello');
  connection.close();
});

test('a software TPM is refused unless the policy allows it', async () => {
  await expect(
    connect(fixture.trust, await fixture.session(), { policy: { softwareTpm: 'refuse' } }),
  ).rejects.toMatchObject({
    name: 'AttestationRefused',
    step: 'policy',
    code: 'policy.software_tpm',
  });
});

test('a stopped attestor: no new connection, an open one goes on, and all is well once it is back', async () => {
  const session = await fixture.session();
  const connection = await connect(fixture.trust, session);
  await daemon.stop();
  await expect(connect(fixture.trust, session)).toRejectWithCode('enclave.attestor_unavailable');
  await expect(attest(fixture.trust, session)).toRejectWithCode('enclave.attestor_unavailable');
  expect(await connection.status()).toMatchObject({ user, workloadUid });
  daemon = await start();
  await daemon.ready;
  (await connect(fixture.trust, await attest(fixture.trust, session))).close();
  connection.close();
});
