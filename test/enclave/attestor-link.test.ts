import { randomBytes, randomUUID } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { status } from '@grpc/grpc-js';
import { parseAddress } from '../../runtime/rpc/address';
import { RpcError } from '../../runtime/rpc/errors';
import { AttestorLink } from '../../enclave/attestor-link';
import type { EvidenceRequest } from '../../enclave/attestor-link';
import { Claims, Purpose } from '../../proto/gen/licensing/v1/evidence';
import type { Evidence } from '../../proto/gen/licensing/v1/evidence';
import { MovedClock } from '../support/clock';
import { startFakeAttestor } from '../support/enclave';
import { eventually } from '../support/eventually';
import type { FakeAttestor } from '../support/enclave';
import { makeFakeTpm } from '../support/evidence';
import type { FakeTpm } from '../support/evidence';
import { silent } from '../../runtime/log/log';

let tpm: FakeTpm;
let folder: string;
let attestor: FakeAttestor;
let link: AttestorLink;
let clock: MovedClock;
const never = new AbortController().signal;
const options = { user: randomUUID(), workloadUid: randomUUID() };

const start = (): Promise<FakeAttestor> =>
  startFakeAttestor({ socket: join(folder, 'attestor.sock'), tpm, ...options });
const setCredential = (text: string): Promise<void> => writeFile(join(folder, 'credential'), text);

function ask(signal: AbortSignal = never, change: Partial<EvidenceRequest> = {}): Promise<Evidence> {
  const nonce = randomBytes(32);
  return link.requestEvidence(
    {
      purpose: Purpose.PURPOSE_CERTIFICATE,
      nonce,
      clientKeySha256: Buffer.alloc(32),
      tlsExporter: Buffer.alloc(0),
      includeEventLog: false,
      ...change,
    },
    signal,
  );
}

async function until(condition: () => boolean): Promise<void> {
  await eventually(condition);
}

beforeAll(async () => {
  tpm = await makeFakeTpm();
});
const log = { ...silent, warn: jest.fn() };
beforeEach(async () => {
  log.warn.mockReset();
  folder = await mkdtemp(join(tmpdir(), 'sls-link-'));
  await setCredential('one\n');
  attestor = await start();
  clock = new MovedClock();
  link = new AttestorLink({
    address: parseAddress(`unix:${join(folder, 'attestor.sock')}`),
    credentialFile: join(folder, 'credential'),
    certificate: Buffer.from('certificate'),
    retry: { firstMs: 20, mostMs: 100 },
    timeoutMs: 3_600_000,
    clock,
    log,
  });
});
afterEach(async () => {
  link.stop();
  await attestor.stop();
  await rm(folder, { recursive: true, force: true });
});

test('requests in flight together get their own answers, in any order', async () => {
  link.start();
  const nonces = Array.from({ length: 50 }, () => randomBytes(32));
  const answers = await Promise.all(nonces.map((nonce) => ask(never, { nonce })));
  expect(answers.map(({ claims }) => Claims.decode(claims).nonce)).toEqual(nonces);
  expect(attestor.credentials).toEqual(['one']);
  expect(link.workloadUid).toBe(options.workloadUid);
});

test('a killed attestor: what is in flight fails at once and may be tried again; then the credential is read anew', async () => {
  link.start();
  await ask();
  attestor.answer = () => 'silence';
  const inFlight = ask();
  await until(() => attestor.requests.length === 2);
  await setCredential('two\n');
  await attestor.stop();
  await expect(inFlight).toRejectWithCode('enclave.attestor_unavailable', { grpcStatus: status.UNAVAILABLE });
  attestor = await start();
  await ask();
  expect(attestor.credentials).toEqual(['two']);
});

test('no attestor: a request fails after its patience, with the same code', async () => {
  await attestor.stop();
  link.start();
  await expect(clock.passUntil(ask())).toRejectWithCode('enclave.attestor_unavailable', {
    grpcStatus: status.UNAVAILABLE,
  });
});

test('a request that comes while the attestor restarts waits for it', async () => {
  await attestor.stop();
  link.start();
  const waiting = ask();
  attestor = await start();
  await waiting;
});

test('an attestor that refuses the workload: said so, and tried again', async () => {
  attestor.identify = () => {
    throw new RpcError('attestor.wrong_image', status.PERMISSION_DENIED, 'no');
  };
  link.start();
  await expect(ask()).toRejectWithCode('enclave.identity_refused', { grpcStatus: status.FAILED_PRECONDITION });
  attestor.identify = () => undefined;
  await eventually(() =>
    ask().then(
      () => true,
      () => false,
    ),
  );
});

describe('a credential that opens one stream', () => {
  /** As on one machine: ProcessIdentity. */
  function takeOnce(): void {
    const used = new Set<string>();
    attestor.identify = (credential) => {
      if (used.has(credential)) throw new RpcError('attestor.credential_used', status.UNAUTHENTICATED, 'used before');
      used.add(credential);
    };
    used.add('one');
  }

  test('was used before: what was asked waits for the next one, and the spent one is not shown again', async () => {
    takeOnce();
    link.start();
    const waiting = ask();
    await until(() => attestor.credentials.length === 1);
    await setCredential('two');
    await waiting;
    expect(attestor.credentials).toEqual(['one', 'two']);
  });

  test('is not followed by another one in time: a status that is worth another try', async () => {
    takeOnce();
    link.start();
    await expect(clock.passUntil(ask())).toRejectWithCode('enclave.attestor_unavailable', {
      grpcStatus: status.UNAVAILABLE,
    });
    await setCredential('two');
    await ask();
  });
});

test('a credential that can not be sent is not logged, and the next one is taken', async () => {
  await setCredential('half a secret\nand the other half');
  link.start();
  await expect(clock.passUntil(ask())).toRejectWithCode('enclave.attestor_unavailable');
  await eventually(() => log.warn.mock.calls.length > 0);
  expect(JSON.stringify(log.warn.mock.calls)).not.toContain('half');
  await setCredential('two');
  await ask();
});

test('an answer that does not come: a time limit', async () => {
  attestor.answer = () => 'silence';
  link.start();
  await expect(clock.passUntil(ask())).toRejectWithCode('enclave.attestor_unavailable');
});

test('a caller that is gone does not wait', async () => {
  attestor.answer = () => 'silence';
  link.start();
  const gone = new AbortController();
  const asked = ask(gone.signal);
  await until(() => attestor.requests.length === 1);
  gone.abort();
  await expect(asked).toRejectWithCode('rpc.cancelled');
});

test("the attestor's own reasons are passed on", async () => {
  attestor.answer = () => {
    throw new RpcError('attestor.tpm_unavailable', status.UNAVAILABLE, 'the TPM does not answer');
  };
  link.start();
  await expect(ask()).toRejectWithCode('attestor.tpm_unavailable', { message: 'the TPM does not answer' });
});
