import { randomUUID } from 'node:crypto';
import { requireBound } from '../../../../functions/login/reaper/bind';
import { openDatabase } from '../../../../licensing/store/database';
import type { Database } from '../../../../licensing/store/database';
import { installationId } from '../../../../licensing/store/installation';
import { FakeCluster } from '../../../support/fake-cluster';
import { testDatabase } from '../../../support/postgres';

const NAMESPACE = 'enclaves';
const BINDING = `/api/v1/namespaces/${NAMESPACE}/configmaps/installation`;

let postgres: { url: string; stop(): Promise<void> };
let database: Database;
let cluster: FakeCluster;
let installation: string;

beforeAll(async () => {
  postgres = await testDatabase();
  database = openDatabase(postgres.url, { poolSize: 1 });
  installation = await installationId(database);
});
afterAll(async () => {
  await database.close();
  await postgres.stop();
});
beforeEach(async () => {
  cluster = await FakeCluster.start(NAMESPACE);
  await database.query('DELETE FROM accounts');
});
afterEach(() => cluster.server.stop());

const require = (id = installation): Promise<void> =>
  requireBound({ api: cluster.server.api(), namespace: NAMESPACE, database, installation: id, orphanShare: 0.05 });

async function addUser({ account, maker }: { account: boolean; maker?: string }): Promise<void> {
  const id = randomUUID();
  if (account)
    await database.query('INSERT INTO accounts (id, username, password_hash) VALUES ($1, $2, $3)', [id, id, 'x']);
  cluster.put(`/apis/serving.knative.dev/v1/namespaces/${NAMESPACE}/services/enclave-${id}`, {
    metadata: {
      name: `enclave-${id}`,
      labels: { 'app.kubernetes.io/component': 'enclave' },
      annotations: { 'licensing/user': id, ...(maker !== undefined && { 'licensing/installation': maker }) },
    },
  });
}

test('a new namespace is bound to the database, which is then taken again and again, and no other one', async () => {
  await require();
  expect(cluster.objects.get(BINDING)).toMatchObject({ data: { id: installation }, immutable: true });
  await require();
  await expect(require(randomUUID())).toRejectWithCode('store.another_installation');
});

test('a database that knows the users is taken for one namespace of theirs; a single one of them may be unknown', async () => {
  await addUser({ account: true });
  await addUser({ account: false });
  await require();
  expect(cluster.objects.has(BINDING)).toBe(true);
});

test.each([
  ['an empty database beside one user', [false]],
  ['a database that knows one of three', [true, false, false]],
])('%s is not bound', async (_what, accounts) => {
  for (const account of accounts) await addUser({ account });
  await expect(require()).toRejectWithCode('store.another_installation');
  expect(cluster.objects.has(BINDING)).toBe(false);
});

test("a namespace with another installation's objects is not bound", async () => {
  await addUser({ account: true, maker: randomUUID() });
  await expect(require()).toRejectWithCode('store.another_installation');
});

test('of two that bind at once one does, and the other goes by what it wrote', async () => {
  const other = randomUUID();
  cluster.intercept = ({ method }) => {
    if (method !== 'POST') return undefined;
    cluster.put(BINDING, { metadata: { name: 'installation' }, data: { id: other } });
    return { status: 409, body: { reason: 'AlreadyExists', message: 'exists' } };
  };
  await expect(require()).toRejectWithCode('store.another_installation');
});
