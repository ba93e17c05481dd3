import { randomBytes } from 'node:crypto';
import { TestClock } from '../support/clock';
import { eventually } from '../support/eventually';
import { Attestor } from '../../attestor-daemon/attestor';
import type { CertifiedQuote } from '../../attestor-daemon/attestor';
import { GroupCommit } from '../../attestor-daemon/group-commit';
import { claimsLeaf, parseClaims } from '../../attestation/evidence/claims';
import { rootFromPath } from '../../attestation/transparency/merkle';
import { AttestRequest } from '../../proto/gen/licensing/v1/attestor';
import { Purpose } from '../../proto/gen/licensing/v1/evidence';
import type { Evidence } from '../../proto/gen/licensing/v1/evidence';

const workload = { user: 'user-1', workloadUid: 'uid-1', imageDigest: `sha256:${'ab'.repeat(32)}`, node: 'node-1' };
const quoted = (root: Buffer): CertifiedQuote => ({
  attest: root,
  signature: Buffer.alloc(1),
  pcrs: [],
  akPublic: Buffer.alloc(1),
  akCertificates: [],
});
const request = (): AttestRequest =>
  AttestRequest.fromPartial({
    purpose: Purpose.PURPOSE_CERTIFICATE,
    nonce: randomBytes(32),
    clientKeySha256: randomBytes(32),
    certificate: Buffer.from('certificate'),
  });
const makeEvidence = (attestor: Attestor, one: AttestRequest): Promise<Evidence> =>
  attestor.makeEvidence(attestor.claims(workload, one), one);

test('requests that wait together share one quote, and each gets the path of its own leaf', async () => {
  const roots: Buffer[] = [];
  let release!: () => void;
  const attestor = new Attestor({
    async quoteRoot(root) {
      roots.push(root);
      await new Promise<void>((resolve) => (release = resolve));
      return quoted(root);
    },
  });
  const first = Array.from({ length: 3 }, request);
  const early = first.map((one) => makeEvidence(attestor, one));
  await eventually(() => roots.length === 1);
  const later = Array.from({ length: 100 }, request);
  const made = Promise.all([...early, ...later.map((one) => makeEvidence(attestor, one))]);
  release();
  await eventually(() => roots.length === 2);
  release();
  const all = await made;
  expect(roots).toHaveLength(2);
  [...first, ...later].forEach(({ nonce }, at) => {
    const evidence = all[at]!;
    expect(evidence.leafCount).toBe(at < 3 ? 3 : 100);
    expect(parseClaims(evidence.claims)).toMatchObject({ ...workload, nonce });
    expect(
      rootFromPath(claimsLeaf(evidence.claims), evidence.leafIndex, evidence.leafCount, evidence.merklePath),
    ).toEqual(evidence.attest);
  });
});

test('claims count for five minutes from when they are made', async () => {
  const attestor = new Attestor({ quoteRoot: async (root) => quoted(root), clock: new TestClock(1_000_000_999) });
  const claims = parseClaims((await makeEvidence(attestor, request())).claims);
  expect([claims.issuedAt, claims.expiresAt]).toEqual([1_000_000n, 1_000_300n]);
});

test('the event log goes with the evidence of those who ask', async () => {
  const eventLog = Buffer.from('log');
  const attestor = new Attestor({ quoteRoot: async (root) => quoted(root), eventLog });
  expect((await makeEvidence(attestor, { ...request(), includeEventLog: true })).eventLog).toEqual(eventLog);
  expect((await makeEvidence(attestor, request())).eventLog).toBeUndefined();
});

test('a failed quote fails the requests of its batch, and the next batch is quoted', async () => {
  let calls = 0;
  const attestor = new Attestor({
    async quoteRoot(root) {
      if (calls++ === 0) throw new Error('no TPM');
      return quoted(root);
    },
  });
  const outcomes = await Promise.allSettled([makeEvidence(attestor, request()), makeEvidence(attestor, request())]);
  expect(outcomes.map((outcome) => outcome.status)).toEqual(['rejected', 'rejected']);
  await expect(makeEvidence(attestor, request())).resolves.toMatchObject({ leafCount: 1 });
});

test('what is given up while it waits is not quoted; what is more than may wait is known beforehand', async () => {
  const batches: number[][] = [];
  let release!: () => void;
  const commit = new GroupCommit<number, number>(
    async (items) => {
      batches.push(items);
      await new Promise<void>((resolve) => (release = resolve));
      return items;
    },
    { batch: 2, waiting: 4 },
  );
  const first = commit.add(0);
  await eventually(() => batches.length === 1);
  const gone = new AbortController();
  const waiting = [commit.add(1, gone.signal), commit.add(2), commit.add(3)];
  expect(commit.full).toBe(false);
  waiting.push(commit.add(4));
  expect(commit.full).toBe(true);
  gone.abort(new Error('gone'));
  const outcomes = Promise.allSettled([first, ...waiting]);
  release();
  for (const count of [2, 3]) {
    await eventually(() => batches.length === count);
    release();
  }
  expect((await outcomes).map((outcome) => outcome.status)).toEqual([
    'fulfilled',
    'rejected',
    'fulfilled',
    'fulfilled',
    'fulfilled',
  ]);
  expect(batches).toEqual([[0], [2], [3, 4]]);
});
