import { chmod, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { WorkloadCertificates } from '../../attestor-daemon/workload-certificates';
import type { WorkloadCertificatesOptions } from '../../attestor-daemon/workload-certificates';
import type { KnownWorkload, Workload } from '../../attestor-daemon/identity/identity';
import { TestClock } from '../support/clock';

const mine = Buffer.alloc(32, 1);
const theirs = Buffer.alloc(32, 2);
const workload = (workloadUid: string): Workload => ({
  user: 'user-1',
  workloadUid,
  name: `pod-${workloadUid}`,
  imageDigest: `sha256:${'ab'.repeat(32)}`,
  node: 'node-1',
});

let stateDir: string;
let clock: TestClock;
const opened: WorkloadCertificates[] = [];
beforeEach(async () => {
  stateDir = await mkdtemp(join(tmpdir(), 'sls-certificates-'));
  clock = new TestClock();
});
afterEach(async () => {
  for (const certificates of opened.splice(0)) await certificates.close();
  await rm(stateDir, { recursive: true, force: true });
});

async function open(change: Partial<WorkloadCertificatesOptions> = {}): Promise<WorkloadCertificates> {
  const certificates = await WorkloadCertificates.open({ stateDir, isGone: async () => false, clock, ...change });
  opened.push(certificates);
  return certificates;
}

const file = (): string => join(stateDir, 'workload-certificates.json');

test('the first certificate stands, for each workload, and after the attestor starts again', async () => {
  const first = await open();
  expect(await first.isFirst(workload('a'), mine)).toBe(true);
  expect(await first.isFirst(workload('a'), theirs)).toBe(false);
  expect(await first.isFirst(workload('a'), mine)).toBe(true);
  expect(await first.isFirst(workload('b'), theirs)).toBe(true);
  const second = await open();
  expect(await second.isFirst(workload('a'), theirs)).toBe(false);
  expect(await second.isFirst(workload('a'), mine)).toBe(true);
  expect(await second.isFirst(workload('b'), mine)).toBe(false);
});

test('of two at once one is the first, and both wait until it is written', async () => {
  const certificates = await open();
  const answers = await Promise.all([mine, theirs, mine].map((hash) => certificates.isFirst(workload('a'), hash)));
  expect(answers).toEqual([true, false, true]);
  const many = Array.from({ length: 200 }, (_, at) => certificates.isFirst(workload(`many-${at}`), mine));
  expect(await Promise.all(many)).toEqual(many.map(() => true));
  expect(JSON.parse(await readFile(file(), 'utf8'))).toMatchObject({ workloads: { length: 201 } });
});

test('it is readable by its owner only, and leaves no drafts', async () => {
  const certificates = await open();
  await certificates.isFirst(workload('a'), mine);
  expect((await stat(file())).mode & 0o777).toBe(0o600);
  expect(await readdir(stateDir)).toEqual(['workload-certificates.json']);
});

test('what can not be written gets nothing, then or later; when it can be again, the first one is the first', async () => {
  const certificates = await open();
  await rm(stateDir, { recursive: true });
  const refusal = { code: 'attestor.record_unwritable' };
  await expect(certificates.isFirst(workload('a'), theirs)).rejects.toMatchObject(refusal);
  await expect(certificates.isFirst(workload('a'), mine)).rejects.toMatchObject(refusal);
  stateDir = await mkdtemp(join(tmpdir(), 'sls-certificates-'));
  const other = await open();
  expect(await other.isFirst(workload('a'), mine)).toBe(true);
});

test('workloads that are gone are forgotten, on disk too; those that are there, or that nobody knows of, are not', async () => {
  const asked: Array<[KnownWorkload, number]> = [];
  const isGone = async (known: KnownWorkload, unseenMs: number): Promise<boolean> => {
    asked.push([known, unseenMs]);
    if (known.workloadUid === 'unknown') throw new Error('the API server does not answer');
    return known.workloadUid === 'gone';
  };
  const certificates = await open({ isGone });
  for (const uid of ['gone', 'there', 'unknown', 'streaming']) await certificates.isFirst(workload(uid), mine);
  await clock.advance(30_000);
  certificates.seen(workload('streaming'));
  await clock.advance(30_000);
  await certificates.sweep();
  expect(asked.map(([{ workloadUid }]) => workloadUid)).toEqual(['gone', 'there', 'unknown']);
  expect(asked[0]).toEqual([{ workloadUid: 'gone', name: 'pod-gone' }, 60_000]);
  const { workloads } = JSON.parse(await readFile(file(), 'utf8')) as { workloads: KnownWorkload[] };
  expect(workloads.map(({ workloadUid }) => workloadUid)).toEqual(['there', 'unknown', 'streaming']);
  expect(await certificates.isFirst(workload('there'), theirs)).toBe(false);
});

test('it is bounded: one more than that is refused, known ones are not', async () => {
  const certificates = await open({ maxRecords: 2 });
  await certificates.isFirst(workload('a'), mine);
  await certificates.isFirst(workload('b'), mine);
  await expect(certificates.isFirst(workload('c'), mine)).toRejectWithCode('attestor.too_many_workloads');
  expect(await certificates.isFirst(workload('a'), mine)).toBe(true);
});

test.each([
  ['half a file', '{"version":1,"workloads":[{"worklo'],
  ['another version', '{"version":2,"workloads":[]}'],
  ['no certificate', '{"version":1,"workloads":[{"workloadUid":"a","name":""}]}'],
  ['an empty file', ''],
])('%s: it does not begin as if nothing had been shown', async (_, text) => {
  await writeFile(file(), text);
  await expect(open()).rejects.toThrow(/expected .*workload-certificates.json as the attestor wrote it/);
});

test('a folder that others may write to is refused', async () => {
  await chmod(stateDir, 0o777);
  await expect(open()).rejects.toThrow(/expected .* to be writable by its owner only, got mode 0777/);
});
