import type { KubernetesApi } from '../../../runtime/kubernetes/api';
import { addressOf, parseDuration, untilInstalled, waitUntilReady } from '../../../knative/installer/waiting';
import type { Part } from '../../../knative/installer/waiting';
import { TestClock } from '../../support/clock';
import { FakeApiServer } from '../../support/fake-api-server';

const POSTGRES: Part = { kind: 'StatefulSet', namespace: 'licensing', name: 'postgres' };
const LOGIN: Part = { kind: 'Knative Service', namespace: 'licensing', name: 'login' };
const ATTESTOR: Part = { kind: 'DaemonSet', namespace: 'licensing-attestor', name: 'attestor' };
const PATHS = {
  postgres: '/apis/apps/v1/namespaces/licensing/statefulsets/postgres',
  login: '/apis/serving.knative.dev/v1/namespaces/licensing/services/login',
  attestor: '/apis/apps/v1/namespaces/licensing-attestor/daemonsets/attestor',
};

/** What the API server has, by path. A collection's path gives its items. */
let objects: Record<string, object>;
let server: FakeApiServer;
let api: KubernetesApi;
let clock: TestClock;
let said: string[];

beforeAll(async () => {
  server = await FakeApiServer.start(({ path }) => {
    const found = objects[path];
    if (found) return { body: found };
    if (/\/(pods|persistentvolumeclaims|events)$/.test(path)) return { body: { metadata: {}, items: [] } };
    return { status: 404, body: { reason: 'NotFound', message: 'not found' } };
  });
  api = server.api();
});
afterAll(() => server.stop());
beforeEach(() => {
  objects = {};
  said = [];
  clock = new TestClock();
});

const items = (...list: object[]): object => ({ metadata: {}, items: list });
const ready = {
  postgres: {
    metadata: { name: 'postgres', generation: 2 },
    spec: { replicas: 1 },
    status: { observedGeneration: 2, readyReplicas: 1, updatedReplicas: 1 },
  },
  login: {
    metadata: { name: 'login', generation: 1 },
    status: { observedGeneration: 1, conditions: [{ type: 'Ready', status: 'True' }] },
  },
  attestor: {
    metadata: { name: 'attestor', generation: 1 },
    status: { observedGeneration: 1, desiredNumberScheduled: 2, updatedNumberScheduled: 2, numberAvailable: 2 },
  },
};
const pod = (name: string, owner: { kind: string; name: string }, rest: object = {}): object => ({
  metadata: { name, ownerReferences: [owner], labels: {} },
  ...rest,
});
const event = (kind: string, name: string, reason: string, message: string, rest: object = {}): object => ({
  metadata: { name: `${name}.1` },
  type: 'Warning',
  involvedObject: { kind, name },
  reason,
  message,
  lastTimestamp: '2026-01-01T00:00:00Z',
  ...rest,
});

const wait = (parts: Part[], timeoutMs = 60_000): Promise<void> =>
  waitUntilReady(api, parts, { timeoutMs, say: (line) => said.push(line), clock });

/** What is said of a part at the first look. */
async function saidOf(part: Part): Promise<string[]> {
  const waiting = wait([part], 2_000);
  waiting.catch(() => undefined);
  await clock.untilWaiting();
  const refused = expect(waiting).toRejectWithCode('install.not_ready', {
    message: expect.stringContaining(`within 2 s each, got: ${said[0]}`) as string,
  });
  await clock.advance(2_000);
  await refused;
  return said;
}

test('what is ready is not waited for, and nothing is said', async () => {
  for (const name of ['postgres', 'login', 'attestor'] as const) objects[PATHS[name]] = ready[name];
  await wait([POSTGRES, LOGIN, ATTESTOR]);
  expect(said).toEqual([]);
});

test('a claim without a storage class: the claim and its event are named while it waits, once, and then it goes on', async () => {
  objects[PATHS.postgres] = { ...ready.postgres, status: { observedGeneration: 2, readyReplicas: 0 } };
  const owner = { kind: 'StatefulSet', name: 'postgres' };
  const volumes = [{ persistentVolumeClaim: { claimName: 'data-postgres-0' } }];
  objects['/api/v1/namespaces/licensing/pods'] = items(
    pod('postgres-0', owner, {
      spec: { volumes },
      status: {
        conditions: [
          {
            type: 'PodScheduled',
            status: 'False',
            message: '0/1 nodes are available: pod has unbound immediate PersistentVolumeClaims.',
          },
        ],
      },
    }),
  );
  objects['/api/v1/namespaces/licensing/persistentvolumeclaims'] = items({
    metadata: { name: 'data-postgres-0' },
    status: { phase: 'Pending' },
  });
  objects['/api/v1/namespaces/licensing/events'] = items(
    event(
      'PersistentVolumeClaim',
      'data-postgres-0',
      'FailedBinding',
      'no persistent volumes available for this claim and no storage class is set',
      { type: 'Normal' },
    ),
    event('PersistentVolumeClaim', 'another', 'FailedBinding', 'of somebody else'),
  );
  const waiting = wait([POSTGRES]);
  await clock.untilWaiting();
  const line =
    'StatefulSet licensing/postgres waits for PersistentVolumeClaim data-postgres-0, which is Pending (FailedBinding: no persistent volumes available for this claim and no storage class is set); pod postgres-0, which no node takes (0/1 nodes are available: pod has unbound immediate PersistentVolumeClaims.)';
  expect(said).toEqual([line]);
  await clock.advance(2_000);
  await clock.untilWaiting();
  expect(said).toEqual([line]);
  objects[PATHS.postgres] = ready.postgres;
  await clock.advance(2_000);
  await waiting;
});

test('an ingress that is down: what Knative says of the route, and no pod', async () => {
  objects[PATHS.login] = {
    ...ready.login,
    status: {
      observedGeneration: 1,
      conditions: [
        { type: 'ConfigurationsReady', status: 'True' },
        { type: 'Ready', status: 'Unknown', reason: 'IngressNotConfigured' },
        {
          type: 'RoutesReady',
          status: 'Unknown',
          reason: 'IngressNotConfigured',
          message: 'Ingress has not yet been reconciled.',
        },
      ],
    },
  };
  expect(await saidOf(LOGIN)).toEqual([
    'Knative Service licensing/login waits for RoutesReady: IngressNotConfigured: Ingress has not yet been reconciled.',
  ]);
});

test('a secret that a pod mounts and is missing: the newest warning about the pod', async () => {
  objects[PATHS.login] = { ...ready.login, status: { observedGeneration: 1, conditions: [] } };
  objects['/api/v1/namespaces/licensing/pods'] = items(
    {
      metadata: { name: 'login-1-a', labels: { 'serving.knative.dev/service': 'login' } },
      status: {
        conditions: [{ type: 'PodScheduled', status: 'True' }],
        containerStatuses: [{ name: 'user-container', state: { waiting: { reason: 'ContainerCreating' } } }],
      },
    },
    { metadata: { name: 'signup-1-a', labels: { 'serving.knative.dev/service': 'signup' } } },
  );
  objects['/api/v1/namespaces/licensing/events'] = items(
    event('Pod', 'login-1-a', 'FailedMount', 'secret "log-keys" not found', { lastTimestamp: '2026-01-01T00:01:00Z' }),
    event('Pod', 'login-1-a', 'FailedMount', 'secret "earlier" not found'),
    event('Pod', 'login-1-a', 'Scheduled', 'assigned', { type: 'Normal', lastTimestamp: '2026-01-01T00:02:00Z' }),
  );
  expect(await saidOf(LOGIN)).toEqual([
    'Knative Service licensing/login waits for pod login-1-a to be ready (FailedMount: secret "log-keys" not found)',
  ]);
});

test.each([
  [
    'an image that is not there',
    { state: { waiting: { reason: 'ImagePullBackOff', message: 'Back-off pulling image "x"' } } },
    'container attestor: ImagePullBackOff (Back-off pulling image "x")',
  ],
  [
    'a program that ends at its start',
    { state: { waiting: { reason: 'CrashLoopBackOff' } }, lastState: { terminated: { exitCode: 2 } } },
    'container attestor: CrashLoopBackOff, it ended with exit code 2 before',
  ],
])('%s: the container and why', async (_, container, words) => {
  objects[PATHS.attestor] = { ...ready.attestor, status: { ...ready.attestor.status, numberAvailable: 1 } };
  objects['/api/v1/namespaces/licensing-attestor/pods'] = items(
    pod(
      'attestor-a',
      { kind: 'DaemonSet', name: 'attestor' },
      {
        status: { conditions: [{ type: 'Ready', status: 'True' }] },
      },
    ),
    pod(
      'attestor-b',
      { kind: 'DaemonSet', name: 'attestor' },
      {
        status: { containerStatuses: [{ name: 'attestor', ...container }] },
      },
    ),
  );
  expect(await saidOf(ATTESTOR)).toEqual([`DaemonSet licensing-attestor/attestor waits for pod attestor-b, ${words}`]);
});

test('a pod that may not be made: the event about what makes it', async () => {
  objects[PATHS.attestor] = { ...ready.attestor, status: { ...ready.attestor.status, numberAvailable: 0 } };
  objects['/api/v1/namespaces/licensing-attestor/events'] = items(
    event('DaemonSet', 'attestor', 'FailedCreate', 'violates PodSecurity "baseline:latest":\n  hostPath volumes'),
  );
  expect(await saidOf(ATTESTOR)).toEqual([
    'DaemonSet licensing-attestor/attestor waits for FailedCreate: violates PodSecurity "baseline:latest": hostPath volumes',
  ]);
});

test('what is not there yet, and an older state than the one that was applied, are waited for', async () => {
  expect(await saidOf(LOGIN)).toEqual(['Knative Service licensing/login waits for itself: it is not there yet']);
  said = [];
  objects[PATHS.postgres] = { ...ready.postgres, metadata: { name: 'postgres', generation: 3 } };
  expect(await saidOf(POSTGRES)).toEqual(['StatefulSet licensing/postgres waits for its first pod']);
});

test('the limit is for each part: what becomes ready gives the others their time', async () => {
  const waiting = wait([POSTGRES, LOGIN], 4_000);
  waiting.catch(() => undefined);
  await clock.untilWaiting();
  await clock.advance(2_000);
  await clock.untilWaiting();
  objects[PATHS.postgres] = ready.postgres;
  await clock.advance(2_000);
  await clock.untilWaiting();
  await clock.advance(2_000);
  await clock.untilWaiting();
  const refused = expect(waiting).toRejectWithCode('install.not_ready');
  await clock.advance(2_000);
  await refused;
});

test('the address of a Knative Service is there before it is ready; until then it is told what it waits for', async () => {
  const options = { timeoutMs: 60_000, say: (line: string) => said.push(line), clock };
  objects[PATHS.login] = { ...ready.login, status: { observedGeneration: 1, conditions: [] } };
  const address = addressOf(api, 'login', options);
  await clock.untilWaiting();
  expect(said).toEqual(['Knative Service licensing/login waits for its first pod']);
  const url = 'https://login.licensing.sls.example.com';
  objects[PATHS.login] = { ...ready.login, status: { observedGeneration: 1, conditions: [], url } };
  await clock.advance(2_000);
  expect(await address).toBe(`${url}:443`);
});

test('an installation waits for its services, its attestors, and PostgreSQL where that is in the cluster', async () => {
  const options = { timeoutMs: 0, say: () => undefined, clock };
  await expect(untilInstalled(api, options)).toRejectWithCode('install.not_ready', {
    message: expect.stringMatching(
      /licensing\/signup .*licensing\/login .*licensing\/enrol .*licensing\/admin .*licensing-attestor\/attestor /,
    ) as string,
  });
  objects[PATHS.postgres] = { ...ready.postgres, metadata: { name: 'postgres', generation: 3 } };
  await expect(untilInstalled(api, options)).toRejectWithCode('install.not_ready', {
    message: expect.stringContaining('StatefulSet licensing/postgres waits for') as string,
  });
});

test.each([
  ['180s', 180_000],
  ['3m', 180_000],
  ['1h30m', 5_400_000],
  ['1.5s', 1_500],
])('%s is a duration', (text, ms) => expect(parseDuration(text)).toBe(ms));

test.each(['', '180', 'soon', '3m x', '-1s'])('%j is none', (text) =>
  expect(() => parseDuration(text)).toThrow('expected a duration such as 180s or 3m'),
);
