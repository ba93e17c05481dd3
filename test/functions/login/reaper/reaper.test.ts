import { reap } from '../../../../functions/login/reaper/reaper';
import type { Reaped } from '../../../../functions/login/reaper/reaper';
import { FakeCluster } from '../../../support/fake-cluster';
import { enclaveKey } from '../../../../attestation/evidence/enclave-name';

const NAMESPACE = 'enclaves';
const DAY_MS = 86_400_000;
const NOW = new Date('2026-06-01T00:00:00Z');
const LABEL = { 'app.kubernetes.io/component': 'enclave' };

let cluster: FakeCluster;
let accounts: Set<string>;
let rows: Set<string>;

beforeEach(async () => {
  cluster = await FakeCluster.start(NAMESPACE);
  accounts = new Set(['ada', 'grace']);
  rows = new Set();
});
afterEach(() => cluster.server.stop());

function add(
  what: 'services' | 'persistentvolumeclaims',
  object: string,
  user: string,
  name?: string,
  daysUnused = 1,
): void {
  const group = what === 'services' ? '/apis/serving.knative.dev/v1' : '/api/v1';
  const lastUsed = new Date(NOW.getTime() - daysUnused * DAY_MS).toISOString();
  const annotations = {
    'licensing/user': user,
    ...(name !== undefined && { 'licensing/enclave': name }),
    'licensing/last-used': lastUsed,
  };
  cluster.put(`${group}/namespaces/${NAMESPACE}/${what}/${object}`, {
    metadata: { name: object, labels: LABEL, annotations },
  });
}

const run = (): Promise<Reaped> =>
  reap({
    api: cluster.server.api(),
    namespace: NAMESPACE,
    unusedMs: 30 * DAY_MS,
    now: NOW,
    existing: (users) => Promise.resolve(new Set(users.filter((user) => accounts.has(user)))),
    registered: () => Promise.resolve(rows),
  });

test('an enclave by name goes when it is unused, its volume stays for its user', async () => {
  rows.add(enclaveKey({ user: 'ada', name: 'lab' })).add(enclaveKey({ user: 'ada', name: 'default' }));
  add('services', 'enclave-a', 'ada', 'lab', 31);
  add('persistentvolumeclaims', 'enclave-a', 'ada', 'lab');
  add('services', 'enclave-b', 'ada', 'default');
  expect(await run()).toEqual({ unused: ['enclave-a'], orphaned: [], volumes: [], kept: 1 });
  expect(cluster.volumes().map(({ metadata }) => metadata.name)).toEqual(['enclave-a']);
});

test('what is left over of an enclave that its user deleted goes, volume and all, however lately it was used', async () => {
  rows.add(enclaveKey({ user: 'ada', name: 'default' }));
  add('services', 'enclave-a', 'ada', 'lab', 0);
  add('persistentvolumeclaims', 'enclave-a', 'ada', 'lab');
  add('services', 'enclave-b', 'ada', 'default');
  add('persistentvolumeclaims', 'enclave-b', 'ada', 'default');
  expect(await run()).toEqual({ unused: [], orphaned: ['enclave-a'], volumes: ['enclave-a'], kept: 1 });
});

test('everything of a user without an account goes; the volume alone as well', async () => {
  add('services', 'enclave-a', 'gone', 'lab');
  add('persistentvolumeclaims', 'enclave-a', 'gone', 'lab');
  add('persistentvolumeclaims', 'enclave-c', 'gone', 'other');
  expect(await run()).toMatchObject({ orphaned: ['enclave-a'], volumes: ['enclave-a', 'enclave-c'] });
});

test('an enclave of before there were names has no row, and stays while its user is there', async () => {
  add('services', 'enclave-a', 'ada');
  add('services', 'enclave-b', 'gone');
  expect(await run()).toMatchObject({ orphaned: ['enclave-b'], kept: 1 });
});

test("claims that are no enclave's are left alone", async () => {
  cluster.put(`/api/v1/namespaces/${NAMESPACE}/persistentvolumeclaims/attestor-socket`, {
    metadata: { name: 'attestor-socket' },
  });
  cluster.put(`/api/v1/namespaces/${NAMESPACE}/persistentvolumeclaims/odd`, {
    metadata: { name: 'odd', labels: LABEL },
  });
  expect(await run()).toMatchObject({ volumes: [] });
  expect(cluster.volumes()).toHaveLength(2);
});

test('one that a login touches meanwhile stays', async () => {
  rows.add(enclaveKey({ user: 'ada', name: 'lab' }));
  add('services', 'enclave-a', 'ada', 'lab', 31);
  cluster.intercept = ({ method }) => {
    if (method === 'DELETE') add('services', 'enclave-a', 'ada', 'lab', 0);
    return undefined;
  };
  expect(await run()).toMatchObject({ unused: [], kept: 1 });
  expect(cluster.services()).toHaveLength(1);
});

test('when nobody can say who has an account, nothing is deleted', async () => {
  add('services', 'enclave-a', 'gone', 'lab', 40);
  const refused = reap({
    api: cluster.server.api(),
    namespace: NAMESPACE,
    unusedMs: DAY_MS,
    now: NOW,
    existing: () => Promise.reject(new Error('away')),
    registered: () => Promise.resolve(rows),
  });
  await expect(refused).rejects.toThrow('away');
  expect(cluster.services()).toHaveLength(1);
});
