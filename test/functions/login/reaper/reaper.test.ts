import { randomUUID } from 'node:crypto';
import { reap } from '../../../../functions/login/reaper/reaper';
import type { Reaped } from '../../../../functions/login/reaper/reaper';
import { listOrphans, permitOrphans } from '../../../../licensing/enclaves/orphans';
import { openDatabase } from '../../../../licensing/store/database';
import type { Database } from '../../../../licensing/store/database';
import { installationId } from '../../../../licensing/store/installation';
import { FakeCluster } from '../../../support/fake-cluster';
import { recordsOf } from '../../../support/audit';
import { testDatabase } from '../../../support/postgres';

const NAMESPACE = 'enclaves';
const DAY_MS = 86_400_000;
const NOW = new Date('2026-06-01T00:00:00Z');
const LABEL = { 'app.kubernetes.io/component': 'enclave' };

let postgres: { url: string; stop(): Promise<void> };
let database: Database;
let cluster: FakeCluster;
let installation: string;
let [ada, gone] = ['', ''];

beforeAll(async () => {
  postgres = await testDatabase();
  database = openDatabase(postgres.url, { poolSize: 2 });
  installation = await installationId(database);
});
afterAll(async () => {
  await database.close();
  await postgres.stop();
});
beforeEach(async () => {
  cluster = await FakeCluster.start(NAMESPACE);
  for (const table of ['accounts', 'deleted_users', 'orphans', 'orphan_permits'])
    await database.query(`DELETE FROM ${table}`);
  [ada, gone] = [randomUUID(), randomUUID()];
  await database.query("INSERT INTO accounts (id, username, password_hash) VALUES ($1, 'ada', 'x')", [ada]);
});
afterEach(() => cluster.server.stop());

function add(
  what: 'services' | 'persistentvolumeclaims',
  object: string,
  user: string,
  { name, daysUnused = 1, maker }: { name?: string; daysUnused?: number; maker?: string } = {},
): void {
  const group = what === 'services' ? '/apis/serving.knative.dev/v1' : '/api/v1';
  const annotations = {
    'licensing/user': user,
    ...(name !== undefined && { 'licensing/enclave': name }),
    ...(maker !== undefined && { 'licensing/installation': maker }),
    'licensing/last-used': new Date(NOW.getTime() - daysUnused * DAY_MS).toISOString(),
  };
  cluster.put(`${group}/namespaces/${NAMESPACE}/${what}/${object}`, {
    metadata: { name: object, labels: LABEL, annotations },
  });
}

function addPod(service: string, claim?: string): void {
  cluster.put(`/api/v1/namespaces/${NAMESPACE}/pods/${service}-1`, {
    metadata: { name: `${service}-1`, labels: { 'serving.knative.dev/service': service } },
    spec: { volumes: claim === undefined ? [] : [{ persistentVolumeClaim: { claimName: claim } }] },
  });
}

const register = (name: string, deleting = false): Promise<unknown> =>
  database.query('INSERT INTO enclaves (user_id, name, deleting_at) VALUES ($1, $2, $3)', [
    ada,
    name,
    deleting ? NOW : null,
  ]);

const run = (days = 0): Promise<Reaped> =>
  reap({
    api: cluster.server.api(),
    namespace: NAMESPACE,
    database,
    installation,
    unusedMs: 30 * DAY_MS,
    orphanMs: 7 * DAY_MS,
    orphanShare: 0.05,
    now: new Date(NOW.getTime() + days * DAY_MS),
  });

const deletions = (): number => cluster.server.requests.filter(({ method }) => method === 'DELETE').length;

test('an enclave by name goes when it is unused, its volume stays for its user', async () => {
  await register('lab');
  await register('default');
  add('services', 'enclave-a', ada, { name: 'lab', daysUnused: 31 });
  add('persistentvolumeclaims', 'enclave-a', ada, { name: 'lab' });
  add('services', 'enclave-b', ada, { name: 'default' });
  expect(await run()).toMatchObject({ unused: ['enclave-a'], deleted: [], orphaned: [], marked: [], kept: 1 });
  expect(cluster.volumes().map(({ metadata }) => metadata.name)).toEqual(['enclave-a']);
});

test('what is left over of an enclave that its user is deleting goes, volume and all, however lately it was used', async () => {
  await register('lab', true);
  await register('default');
  add('services', 'enclave-a', ada, { name: 'lab', daysUnused: 0 });
  add('persistentvolumeclaims', 'enclave-a', ada, { name: 'lab' });
  add('services', 'enclave-b', ada, { name: 'default' });
  add('persistentvolumeclaims', 'enclave-b', ada, { name: 'default' });
  expect(await run()).toMatchObject({ deleted: ['enclave-a', 'enclave-a'], marked: [], kept: 1 });
  expect(cluster.volumes().map(({ metadata }) => metadata.name)).toEqual(['enclave-b']);
});

test('everything of a user whose account was deleted goes at once', async () => {
  await database.query('INSERT INTO deleted_users (user_id) VALUES ($1)', [gone]);
  add('services', 'enclave-a', gone, { name: 'lab' });
  add('persistentvolumeclaims', 'enclave-a', gone, { name: 'lab' });
  expect(await run()).toMatchObject({ deleted: ['enclave-a', 'enclave-a'], marked: [] });
});

test('with an empty database nothing is deleted: not at once, and not when the days are over', async () => {
  await database.query('DELETE FROM accounts');
  for (let user = 0; user < 50; user += 1) {
    const id = randomUUID();
    add('services', `enclave-${user}`, id, { name: 'default', daysUnused: 40 });
    add('persistentvolumeclaims', `enclave-${user}`, id, { name: 'default' });
    addPod(`enclave-${user}`);
  }
  expect(await run()).toMatchObject({ unused: [], deleted: [], orphaned: [], held: false });
  expect(await run(8)).toMatchObject({ orphaned: [] });
  for (const { metadata } of cluster.pods())
    cluster.objects.delete(`/api/v1/namespaces/${NAMESPACE}/pods/${metadata.name}`);
  const held = await run(9);
  expect(held).toMatchObject({ orphaned: [], held: true });
  expect(held.marked).toHaveLength(100);
  expect(deletions()).toBe(0);
});

test('an orphan is marked, listed, and deleted when its days are over', async () => {
  add('services', 'enclave-a', gone, { name: 'lab' });
  add('persistentvolumeclaims', 'enclave-a', gone, { name: 'lab' });
  expect(await run()).toMatchObject({ orphaned: [], marked: ['enclave-a', 'enclave-a'] });
  expect(await listOrphans(database)).toMatchObject([
    { kind: 'PersistentVolumeClaim', object: 'enclave-a', user: gone, enclave: 'lab', since: NOW },
    { kind: 'Service', object: 'enclave-a', user: gone, enclave: 'lab', since: NOW },
  ]);
  expect(await run(6.9)).toMatchObject({ orphaned: [] });
  expect(deletions()).toBe(0);
  expect(await run(7)).toMatchObject({ orphaned: ['enclave-a', 'enclave-a'], marked: [] });
  expect(await listOrphans(database)).toEqual([]);
  expect((await recordsOf(database)).filter(({ kind }) => kind === 'enclave.orphan_deleted')).toHaveLength(2);
});

test('an orphan whose owner is back is none, and its days begin anew', async () => {
  add('services', 'enclave-a', ada, { name: 'lab' });
  expect(await run()).toMatchObject({ marked: ['enclave-a'] });
  await register('lab');
  expect(await run(6)).toMatchObject({ marked: [] });
  await database.query('DELETE FROM enclaves');
  expect(await run(8)).toMatchObject({ marked: ['enclave-a'], orphaned: [] });
});

test('nothing of an orphan is deleted while its pod runs, nor a claim that another pod has mounted', async () => {
  add('services', 'enclave-a', gone, { name: 'lab' });
  add('persistentvolumeclaims', 'enclave-b', gone, { name: 'other' });
  await run();
  addPod('enclave-a');
  addPod('debug', 'enclave-b');
  expect(await run(30)).toMatchObject({ orphaned: [], held: false });
  expect(deletions()).toBe(0);
});

test('of more than a small share none is deleted before an administrator permits that number, once', async () => {
  for (let user = 0; user < 3; user += 1) add('persistentvolumeclaims', `enclave-${user}`, randomUUID(), { name: 'a' });
  await run();
  expect(await run(8)).toMatchObject({ orphaned: [], held: true });
  const permit = { administrator: 'ada', reason: 'moved away', until: new Date(NOW.getTime() + 9 * DAY_MS) };
  await expect(permitOrphans(database, { ...permit, objects: 2 })).toRejectWithCode('admin.orphans_changed');
  await permitOrphans(database, { ...permit, objects: 3 });
  expect(await run(10)).toMatchObject({ orphaned: [], held: true });
  const deleted = await run(8.5);
  expect(deleted).toMatchObject({ held: false });
  expect(deleted.orphaned).toHaveLength(3);
  for (let user = 0; user < 3; user += 1) add('persistentvolumeclaims', `more-${user}`, randomUUID(), { name: 'a' });
  await run(8.6);
  expect(await run(16)).toMatchObject({ orphaned: [], held: true });
});

test('what another installation made is left alone', async () => {
  add('services', 'enclave-a', gone, { name: 'lab', daysUnused: 99, maker: randomUUID() });
  add('services', 'enclave-b', gone, { name: 'lab', maker: installation });
  expect(await run()).toMatchObject({ foreign: ['enclave-a'], marked: ['enclave-b'] });
});

test('an enclave of before there were names has no row, and stays while its user is there', async () => {
  add('services', 'enclave-a', ada);
  add('services', 'enclave-b', gone);
  expect(await run()).toMatchObject({ marked: ['enclave-b'], kept: 1 });
});

test("claims that are no enclave's are left alone", async () => {
  cluster.put(`/api/v1/namespaces/${NAMESPACE}/persistentvolumeclaims/attestor-socket`, {
    metadata: { name: 'attestor-socket' },
  });
  cluster.put(`/api/v1/namespaces/${NAMESPACE}/persistentvolumeclaims/odd`, {
    metadata: { name: 'odd', labels: LABEL },
  });
  expect(await run()).toMatchObject({ marked: [], deleted: [] });
  expect(cluster.volumes()).toHaveLength(2);
});

test('one that a login touches meanwhile stays', async () => {
  await register('lab');
  add('services', 'enclave-a', ada, { name: 'lab', daysUnused: 31 });
  cluster.intercept = ({ method }) => {
    if (method === 'DELETE') add('services', 'enclave-a', ada, { name: 'lab', daysUnused: 0 });
    return undefined;
  };
  expect(await run()).toMatchObject({ unused: [], kept: 1 });
  expect(cluster.services()).toHaveLength(1);
});

test('when the database does not answer, nothing is deleted', async () => {
  add('services', 'enclave-a', gone, { name: 'lab', daysUnused: 40 });
  const away = openDatabase('postgres://127.0.0.1:1/none', { poolSize: 1 });
  const refused = reap({
    api: cluster.server.api(),
    namespace: NAMESPACE,
    database: away,
    installation,
    unusedMs: DAY_MS,
    orphanMs: 0,
    orphanShare: 1,
    now: NOW,
  });
  await expect(refused).toRejectWithCode('store.unavailable');
  await away.close();
  expect(cluster.services()).toHaveLength(1);
});
