import { createHash, X509Certificate } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import { Metadata, status } from '@grpc/grpc-js';
import { Attestor } from '../../attestor-daemon/attestor';
import type { Workload } from '../../attestor-daemon/identity/identity';
import { attestorService } from '../../attestor-daemon/service';
import { WorkloadCertificates } from '../../attestor-daemon/workload-certificates';
import type { AttestorServiceOptions } from '../../attestor-daemon/service';
import { parseAddress } from '../../runtime/rpc/address';
import { RpcError } from '../../runtime/rpc/errors';
import { startServer } from '../../runtime/rpc/server';
import type { RunningServer } from '../../runtime/rpc/server';
import { parseClaims } from '../../attestation/evidence/claims';
import { AttestorServiceService } from '../../proto/gen/licensing/v1/attestor';
import type { AttestorServiceClient } from '../../proto/gen/licensing/v1/attestor';
import { Purpose } from '../../proto/gen/licensing/v1/evidence';
import { TestClock } from '../support/clock';
import { attestorClient, AttestStream } from '../support/attest-stream';
import { makeAuthority } from '../support/authority';
import { eventually } from '../support/eventually';

let folder: string;
let certificate: Buffer;
let other: Buffer;
let server: RunningServer | undefined;
let client: AttestorServiceClient | undefined;
let quotes = 0;
const opened: WorkloadCertificates[] = [];

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'sls-service-'));
  [certificate, other] = (await Promise.all(['a', 'b'].map((name) => makeAuthority(name)))).map(
    (made) => new X509Certificate(made.certificate).raw,
  ) as [Buffer, Buffer];
});
afterEach(async () => {
  client?.close();
  await server?.stop(0);
  for (const certificates of opened.splice(0)) await certificates.close();
});
afterAll(() => rm(folder, { recursive: true, force: true }));

const workload: Workload = {
  user: 'user-1',
  workloadUid: 'uid-1',
  imageDigest: `sha256:${'ab'.repeat(32)}`,
  node: 'node-1',
};
const workloads = new Map<string, Workload>([
  ['a', workload],
  ['b', { ...workload, user: 'user-2', workloadUid: 'uid-2' }],
  ['elsewhere', { ...workload, node: 'node-2' }],
  ['odd', { ...workload, user: 'user\n1' }],
]);

/** A server whose identities are known by the names above. */
async function serve(
  options: Partial<AttestorServiceOptions> = {},
): Promise<(credential?: string, shown?: Buffer) => AttestStream> {
  quotes = 0;
  const attestor = new Attestor({
    async quoteRoot(root) {
      quotes++;
      await setImmediate();
      return { attest: root, signature: Buffer.alloc(1), pcrs: [], akPublic: Buffer.alloc(1), akCertificates: [] };
    },
  });
  const identifier = {
    async identify(credential: string) {
      const found = workloads.get(credential);
      if (found === undefined) throw new RpcError('attestor.token_refused', status.UNAUTHENTICATED, 'unknown');
      return found;
    },
    isGone: async () => false,
  };
  const certificates = await WorkloadCertificates.open({
    stateDir: await mkdtemp(join(folder, 'state-')),
    ...identifier,
  });
  opened.push(certificates);
  const implementation = attestorService({
    attestor,
    certificates,
    identifier,
    node: 'node-1',
    ready: () => true,
    ...options,
  });
  const address = parseAddress(`unix:${join(folder, 'attestor.sock')}`);
  server = await startServer({ address, services: [{ definition: AttestorServiceService, implementation }] });
  client = attestorClient(address);
  const made = client;
  return (credential = 'Bearer a', shown = certificate) =>
    new AttestStream(made, credential === '' ? undefined : credential, shown);
}

test('what is attested comes from the identity, never from the request', async () => {
  const open = await serve();
  for (const [credential, expected] of [
    ['a', 'user-1'],
    ['b', 'user-2'],
  ] as const) {
    const stream = open(`Bearer ${credential}`);
    const result = await stream.ask({ nonce: Buffer.alloc(32, 7) });
    if (result?.$case !== 'evidence') throw new Error('expected evidence');
    const claims = parseClaims(result.value.claims);
    expect(claims).toMatchObject({
      user: expected,
      node: 'node-1',
      imageDigest: workload.imageDigest,
      nonce: Buffer.alloc(32, 7),
    });
    expect(claims.certificateSha256).toEqual(createHash('sha256').update(certificate).digest());
    stream.end();
    expect(await stream.ended).toBeUndefined();
  }
});

test.each([
  ['no credential', '', 'attestor.no_credential', status.UNAUTHENTICATED],
  ['another scheme', 'Basic a', 'attestor.no_credential', status.UNAUTHENTICATED],
  ['an unknown credential', 'Bearer x', 'attestor.token_refused', status.UNAUTHENTICATED],
  ['a workload of another node', 'Bearer elsewhere', 'attestor.wrong_node', status.PERMISSION_DENIED],
  ['an identity that no claims can hold', 'Bearer odd', 'attestor.bad_identity', status.PERMISSION_DENIED],
])('%s gets no evidence', async (_, credential, code, grpcStatus) => {
  const open = await serve();
  const stream = open(credential);
  await expect(stream.ask()).rejects.toMatchObject({ code, grpcStatus });
  expect(quotes).toBe(0);
});

test('a stream is refused while the key is not certified, and its credential is not used up', async () => {
  let looked = 0;
  const identifier = { identify: async () => (looked++, workload), isGone: async () => false };
  const open = await serve({ ready: () => false, identifier });
  await expect(open().ask()).toRejectWithCode('attestor.not_ready', { grpcStatus: status.UNAVAILABLE });
  expect(looked).toBe(0);
});

test.each([
  ['a nonce of another length', { nonce: Buffer.alloc(31) }, 'attestor.bad_request'],
  ['base64 of a nonce', { nonce: Buffer.from(Buffer.alloc(32).toString('base64')) }, 'attestor.bad_request'],
  ['no client key', { clientKeySha256: Buffer.alloc(0) }, 'attestor.bad_request'],
  ['no purpose', { purpose: Purpose.PURPOSE_UNSPECIFIED }, 'attestor.bad_request'],
  ['an unknown purpose', { purpose: 3 as Purpose }, 'attestor.bad_request'],
  ['an exporter for a certificate', { tlsExporter: Buffer.alloc(32) }, 'attestor.bad_request'],
  ['a session without an exporter', { purpose: Purpose.PURPOSE_SESSION }, 'attestor.bad_request'],
  ['no certificate', { certificate: Buffer.alloc(0) }, 'attestor.bad_request'],
  ['a large certificate', { certificate: Buffer.alloc(5000) }, 'attestor.bad_request'],
  ['something that is no certificate', { certificate: Buffer.from('certificate') }, 'attestor.bad_request'],
])('%s is refused, and the stream goes on', async (_, fields, code) => {
  const open = await serve();
  const stream = open();
  expect(await stream.ask(fields)).toMatchObject({ $case: 'failure', value: { code, retryable: false } });
  expect(quotes).toBe(0);
  expect(await stream.ask()).toMatchObject({ $case: 'evidence' });
  stream.end();
});

test("the first certificate stands: another one is refused, and one with bytes behind it isn't one", async () => {
  const open = await serve();
  const stream = open();
  expect(await stream.ask({ certificate: Buffer.concat([certificate, Buffer.from([0])]) })).toMatchObject({
    value: { code: 'attestor.bad_request' },
  });
  expect(await stream.ask()).toMatchObject({ $case: 'evidence' });
  expect(await stream.ask({ certificate: other })).toMatchObject({
    $case: 'failure',
    value: { code: 'attestor.certificate_changed', retryable: false },
  });
  expect(await stream.ask({ purpose: Purpose.PURPOSE_SESSION, tlsExporter: Buffer.alloc(32) })).toMatchObject({
    $case: 'evidence',
  });
  stream.end();
});

test('two requests of one id at once end the stream', async () => {
  const open = await serve({ attestor: new Attestor({ quoteRoot: () => new Promise(() => undefined) }) });
  const stream = open();
  void stream.ask({ id: 9n }).catch(() => undefined);
  await expect(stream.ask({ id: 9n })).toRejectWithCode('attestor.duplicate_id');
});

test('a stream ends when its credential does', async () => {
  const clock = new TestClock();
  workloads.set('short', { ...workload, expiresAt: Math.floor(clock.now() / 1000) + 60 });
  const open = await serve({ clock });
  const stream = open('Bearer short');
  expect(await stream.ask()).toMatchObject({ $case: 'evidence' });
  await clock.advance(59_000);
  expect(await stream.ask()).toMatchObject({ $case: 'evidence' });
  await clock.advance(1_000);
  expect(await stream.ended).toMatchObject({ code: 'attestor.credential_expired', grpcStatus: status.UNAUTHENTICATED });
});

test('a workload has one stream: a second one is refused while the first lives, and taken when it has ended', async () => {
  const open = await serve();
  const first = open();
  await first.ask();
  await expect(open().ask()).toRejectWithCode('attestor.stream_open', { grpcStatus: status.ALREADY_EXISTS });
  expect(await open('Bearer b').ask()).toMatchObject({ $case: 'evidence' });
  first.cancel();
  expect(await askWhenFree(open)).toMatchObject({ $case: 'evidence' });
});

test('a stream that is gone makes room at once, while the TPM still works for it', async () => {
  let release!: () => void;
  const working = new Promise<void>((resolve) => (release = resolve));
  const attestor = new Attestor({
    async quoteRoot(root) {
      quotes++;
      await working;
      return { attest: root, signature: Buffer.alloc(1), pcrs: [], akPublic: Buffer.alloc(1), akCertificates: [] };
    },
  });
  const open = await serve({ attestor });
  const first = open();
  void first.ask().catch(() => undefined);
  await eventually(() => quotes === 1);
  first.cancel();
  // Taken, and answered as bad, while the first one's quote is still being made.
  expect(await askWhenFree(open, { nonce: Buffer.alloc(1) })).toMatchObject({
    value: { code: 'attestor.bad_request' },
  });
  release();
});

/** The server hears a moment later than the client that a stream was cancelled. */
async function askWhenFree(
  open: (credential?: string, shown?: Buffer) => AttestStream,
  fields: Parameters<AttestStream['ask']>[0] = {},
  shown = certificate,
): Promise<Awaited<ReturnType<AttestStream['ask']>>> {
  return eventually(async () => {
    const stream = open('Bearer a', shown);
    try {
      return await stream.ask(fields);
    } catch (error) {
      if ((error as { code?: string }).code !== 'attestor.stream_open') throw error;
      return undefined;
    } finally {
      stream.end();
    }
  });
}

describe("a credential that somebody else got hold of makes no evidence for another key than the workload's own", () => {
  test('not on another stream, for a certificate or a session, after the first one ended', async () => {
    const open = await serve();
    const first = open();
    expect(await first.ask()).toMatchObject({ $case: 'evidence' });
    first.end();
    await first.ended;
    const thief = open('Bearer a', other);
    const before = quotes;
    for (const fields of [{}, { purpose: Purpose.PURPOSE_SESSION, tlsExporter: Buffer.alloc(32) }])
      expect(await thief.ask(fields)).toMatchObject({
        $case: 'failure',
        value: { code: 'attestor.certificate_changed', retryable: false },
      });
    expect(quotes).toBe(before);
    thief.end();
    await thief.ended;
    expect(await open().ask()).toMatchObject({ $case: 'evidence' });
  });

  test('not when the workload said at the opening which one is its own, and has asked for nothing yet', async () => {
    const open = await serve();
    const metadata = new Metadata();
    metadata.set('authorization', 'Bearer a');
    metadata.set('certificate-sha256', createHash('sha256').update(certificate).digest('hex'));
    const call = (client as AttestorServiceClient).attest(metadata);
    call.on('error', () => undefined).resume();
    await eventually(() => opened[0]?.size === 1);
    call.cancel();
    expect(await askWhenFree(open, {}, other)).toMatchObject({ value: { code: 'attestor.certificate_changed' } });
  });

  test('a stream that says another one at its opening is refused as a whole', async () => {
    const open = await serve();
    const first = open();
    await first.ask();
    first.end();
    await first.ended;
    for (const [shown, code] of [
      [createHash('sha256').update(other).digest('hex'), 'attestor.certificate_changed'],
      ['AB'.repeat(32), 'attestor.bad_request'],
      ['', 'attestor.bad_request'],
    ] as const) {
      const stream = new AttestStream(client as AttestorServiceClient, 'Bearer a', certificate, shown);
      await expect(stream.ask()).rejects.toMatchObject({ code });
    }
  });

  test('another workload of the same user has a certificate of its own', async () => {
    workloads.set('again', { ...workload, workloadUid: 'uid-again' });
    const open = await serve();
    const first = open();
    await first.ask();
    first.end();
    await first.ended;
    expect(await open('Bearer again', other).ask()).toMatchObject({ $case: 'evidence' });
  });

  test('what can not be written down gets nothing', async () => {
    const stateDir = await mkdtemp(join(folder, 'unwritable-'));
    const certificates = await WorkloadCertificates.open({ stateDir, isGone: async () => false });
    opened.push(certificates);
    const open = await serve({ certificates });
    await rm(stateDir, { recursive: true });
    expect(await open().ask()).toMatchObject({
      $case: 'failure',
      value: { code: 'attestor.record_unwritable', retryable: true },
    });
    expect(quotes).toBe(0);
  });
});

test('a stream is read only as far as its requests are worked on, and all are answered', async () => {
  const open = await serve({ inFlight: 4 });
  const stream = open();
  const results = await Promise.all(Array.from({ length: 40 }, () => stream.ask()));
  expect(results.every((result) => result?.$case === 'evidence')).toBe(true);
  const counts = results.map((result) => (result?.$case === 'evidence' ? result.value.leafCount : 0));
  expect(Math.max(...counts)).toBeLessThanOrEqual(4);
  expect(quotes).toBeGreaterThanOrEqual(10);
  stream.end();
});

test('an internal failure is answered without its text', async () => {
  const attestor = new Attestor({ quoteRoot: () => Promise.reject(new Error('secret detail')) });
  const open = await serve({ attestor });
  expect(await open().ask()).toEqual({
    $case: 'failure',
    value: { code: 'internal', message: 'internal error', retryable: false },
  });
});
