import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { load } from 'js-yaml';
import type { KnativeService } from '../../../../runtime/kubernetes/objects';
import { KnativeLauncher } from '../../../../functions/login/launcher/knative';
import { enclaveName } from '../../../../functions/login/launcher/knative-service';
import { eventually } from '../../../support/eventually';
import type { FakeAnswer } from '../../../support/fake-api-server';
import { LoginStage } from '../../../../proto/gen/licensing/v1/login';
import { FakeCluster } from '../../../support/fake-cluster';
import type { EnclaveId } from '../../../../attestation/evidence/enclave-name';

const NAMESPACE = 'enclaves';
const nameKey = Buffer.alloc(32, 7);
const template = load(readFileSync(join(__dirname, '../../../../knative/base/enclave.yaml'), 'utf8')) as KnativeService;
const kind = {
  namespace: NAMESPACE,
  template,
  image: `registry/enclave@sha256:${'a'.repeat(64)}`,
  trustDomain: 'sls.local',
};
const of = (user: string, name = 'default'): EnclaveId => ({ user, name });
const quiet = { onStage: () => undefined, signal: new AbortController().signal };

let cluster: FakeCluster;
let plain: KnativeLauncher;
let withVolumes: KnativeLauncher;

beforeEach(async () => {
  cluster = await FakeCluster.start(NAMESPACE);
  const options = {
    api: cluster.server.api(),
    nameKey,
    installation: () => Promise.resolve('any'),
    startMs: 120_000,
    scheduleMs: 30_000,
  };
  plain = new KnativeLauncher({ ...options, kind });
  withVolumes = new KnativeLauncher({ ...options, kind: { ...kind, volume: { size: '5Gi' } } });
});
afterEach(() => cluster.server.stop());

const annotations = (): Array<Record<string, string | undefined>> =>
  cluster.services().map(({ metadata }) => ({
    user: metadata.annotations?.['licensing/user'],
    name: metadata.annotations?.['licensing/enclave'],
  }));

test('each name of a user is a Service of its own, under a name that tells nothing; the same one is the same Service', async () => {
  const first = await plain.ensure(of('ada'), quiet);
  const second = await plain.ensure(of('ada', 'gpu-lab'), quiet);
  expect(second.workloadUid).not.toBe(first.workloadUid);
  expect(await plain.ensure(of('ada', 'gpu-lab'), quiet)).toMatchObject({
    workloadUid: second.workloadUid,
    started: false,
  });
  expect(annotations()).toEqual([
    { user: 'ada', name: 'default' },
    { user: 'ada', name: 'gpu-lab' },
  ]);
  for (const { metadata } of cluster.services()) expect(metadata.name).toMatch(/^enclave-[a-z2-7]{20}$/);
  expect(cluster.volumes()).toEqual([]);
});

describe('while an enclave does not start', () => {
  const watches = (): number => cluster.server.requests.filter(({ query }) => query.has('watch')).length;
  /** Of Ada's nobody sees other pods than these. */
  const hide = (watch: FakeAnswer | undefined, items: object[] = []): void => {
    const stuck = enclaveName(nameKey, of('ada'));
    cluster.intercept = ({ query }) => {
      if (query.has('watch')) return watch;
      return query.get('labelSelector')?.endsWith(`=${stuck}`) === true ? { body: { metadata: {}, items } } : undefined;
    };
  };

  test('whoever waits for it, however often, keeps nobody else from theirs, and it is watched once', async () => {
    const grace = await plain.ensure(of('grace'), quiet);
    cluster.server.requests.length = 0;
    hide({ silent: true });
    const over = new AbortController();
    const wait = (): Promise<unknown> =>
      plain.ensure(of('ada'), { ...quiet, signal: over.signal }).catch(() => undefined);
    const waiting = [wait()];
    await eventually(() => watches() === 2);
    waiting.push(...Array.from({ length: 50 }, wait));
    const found = await plain.ensure(of('grace'), quiet);
    const watched = watches();
    over.abort();
    await Promise.all(waiting);
    expect(found).toMatchObject({ workloadUid: grace.workloadUid, started: false });
    // The Service, and its pods.
    expect(watched).toBe(2);
  });

  test('those who wait for many at once keep nobody else from theirs', async () => {
    const grace = await plain.ensure(of('grace'), quiet);
    cluster.intercept = ({ query }) => {
      if (query.has('watch')) return { silent: true };
      return /=enclave-/.test(query.get('labelSelector') ?? '') &&
        !query.get('labelSelector')!.endsWith(enclaveName(nameKey, of('grace')))
        ? { body: { metadata: {}, items: [] } }
        : undefined;
    };
    const over = new AbortController();
    const waiting = Array.from({ length: 50 }, (_, index) =>
      plain.ensure(of(`user-${index}`), { ...quiet, signal: over.signal }).catch(() => undefined),
    );
    await eventually(() => watches() > 0);
    const found = await plain.ensure(of('grace'), quiet);
    over.abort();
    await Promise.all(waiting);
    expect(found).toMatchObject({ workloadUid: grace.workloadUid, started: false });
  });

  test('one who gives up takes nobody along, whoever comes later is told how far it is, and all get the same one', async () => {
    await plain.ensure(of('ada'), quiet);
    await plain.stop(of('ada'));
    // On a node, and no further.
    const scheduled = {
      metadata: { name: 'ada-1', uid: 'ada-1' },
      status: { conditions: [{ type: 'PodScheduled', status: 'True' }] },
    };
    hide(undefined, [scheduled]);
    const impatient = new AbortController();
    const [stages, toldLater]: [number[], number[]] = [[], []];
    const first = plain.ensure(of('ada'), { onStage: (stage) => stages.push(stage), signal: impatient.signal });
    await eventually(() => stages.length > 0);
    const later = [0, 1].map(() =>
      plain.ensure(of('ada'), { signal: quiet.signal, onStage: (stage) => toldLater.push(stage) }),
    );
    await eventually(() => toldLater.length === 2);
    expect([...stages, ...toldLater]).toEqual(Array(3).fill(LoginStage.LOGIN_STAGE_SCHEDULED));
    impatient.abort();
    await expect(first).toRejectWithCode('login.enclave_unavailable');
    cluster.intercept = () => undefined;
    const [one, two] = await Promise.all(later);
    expect(one).toEqual(two);
    expect(one).toMatchObject({ started: true, node: 'node-a' });
  });
});

test('what runs is found by name, in one question; what is asked for only', async () => {
  await plain.ensure(of('ada'), quiet);
  await plain.ensure(of('ada', 'gpu-lab'), quiet);
  await plain.ensure(of('grace', 'gpu-lab'), quiet);
  await plain.stop(of('ada'));
  cluster.server.requests.length = 0;
  expect(await plain.find('ada', ['default', 'gpu-lab', 'other'])).toEqual(
    new Map([['gpu-lab', { serves: true, node: 'node-a' }]]),
  );
  expect(cluster.server.requests).toHaveLength(1);
  expect(await plain.find('ada', [])).toEqual(new Map());
  const [pod] = cluster
    .pods()
    .filter(
      ({ metadata }) => metadata.labels?.['serving.knative.dev/service'] === enclaveName(nameKey, of('ada', 'gpu-lab')),
    );
  pod!.status = { conditions: [{ type: 'PodScheduled', status: 'True' }] };
  expect((await plain.find('ada', ['gpu-lab'])).get('gpu-lab')).toEqual({ serves: false, node: 'node-a' });
});

test('stop ends the Service and its pod, and keeps the volume; the next start has the same one', async () => {
  await withVolumes.ensure(of('ada', 'lab'), quiet);
  const [volume] = cluster.volumes();
  await withVolumes.stop(of('ada', 'lab'));
  expect([cluster.services(), cluster.pods()]).toEqual([[], []]);
  await withVolumes.stop(of('ada', 'lab'));
  await withVolumes.ensure(of('ada', 'lab'), quiet);
  expect(cluster.volumes()).toEqual([volume]);
});

test('a volume is made before the Service that needs it, once, and keeps its size when the setting changes', async () => {
  await withVolumes.ensure(of('ada', 'lab'), quiet);
  const made = cluster.server.requests
    .filter(({ method }) => method === 'PATCH')
    .map(({ path }) => path.split('/').at(-2));
  expect(made).toEqual(['persistentvolumeclaims', 'services']);
  const bigger = new KnativeLauncher({
    api: cluster.server.api(),
    nameKey,
    installation: () => Promise.resolve('any'),
    startMs: 5_000,
    scheduleMs: 1_000,
    kind: { ...kind, image: kind.image.replace('a', 'b'), volume: { size: '50Gi' } },
  });
  await bigger.ensure(of('ada', 'lab'), quiet);
  expect(cluster.volumes().map(({ spec }) => spec?.['resources'])).toEqual([{ requests: { storage: '5Gi' } }]);
});

test('a volume that is being deleted is waited for: its files are of an enclave that is gone', async () => {
  const id = of('ada', 'lab');
  const path = `/api/v1/namespaces/${NAMESPACE}/persistentvolumeclaims/${enclaveName(nameKey, id)}`;
  const old = cluster.put(path, { metadata: { name: enclaveName(nameKey, id), deletionTimestamp: 'now' } });
  const seen = cluster.server.requests.length;
  const ensured = withVolumes.ensure(id, quiet);
  // It has been looked at, and there is nothing to do but wait.
  await eventually(() => cluster.server.requests.slice(seen).some((request) => request.path === path));
  cluster.objects.delete(path);
  await ensured;
  expect(cluster.volumes()).toHaveLength(1);
  expect(cluster.volumes()[0]!.metadata.uid).not.toBe(old.metadata.uid);
});

test("one that is lost is discarded without its volume; so is a revoked user's", async () => {
  const enclave = await withVolumes.ensure(of('ada', 'lab'), quiet);
  await withVolumes.discard(of('ada', 'lab'), { ...enclave, workloadUid: 'another' });
  expect(cluster.services()).toHaveLength(1);
  await withVolumes.discard(of('ada', 'lab'), enclave);
  expect(cluster.services()).toEqual([]);
  expect(cluster.volumes()).toHaveLength(1);
});

test('remove takes Service and volume of this enclave, also where volumes are off by now; twice is once', async () => {
  await withVolumes.ensure(of('ada', 'lab'), quiet);
  await withVolumes.ensure(of('ada', 'lab-2'), quiet);
  for (let i = 0; i < 2; i++) await plain.remove(of('ada', 'lab'));
  expect(annotations()).toEqual([{ user: 'ada', name: 'lab-2' }]);
  expect(cluster.volumes().map(({ metadata }) => metadata.annotations?.['licensing/enclave'])).toEqual(['lab-2']);
});

test('a removal that fails between Service and volume is ended by the next one', async () => {
  await withVolumes.ensure(of('ada', 'lab'), quiet);
  cluster.intercept = ({ method, path }) =>
    method === 'DELETE' && path.includes('persistentvolumeclaims')
      ? { status: 403, body: { reason: 'Forbidden', message: 'no' } }
      : undefined;
  await expect(withVolumes.remove(of('ada', 'lab'))).rejects.toMatchObject({ status: 403 });
  expect([cluster.services().length, cluster.volumes().length]).toEqual([0, 1]);
  cluster.intercept = () => undefined;
  await withVolumes.remove(of('ada', 'lab'));
  expect(cluster.volumes()).toEqual([]);
});

test("all of a user's, those from before there were names included, and nobody else's", async () => {
  for (const id of [of('ada'), of('ada', 'lab'), of('ad', 'a'), of('grace')]) await withVolumes.ensure(id, quiet);
  const before = cluster.services().find(({ metadata }) => metadata.name === enclaveName(nameKey, of('ada')))!;
  delete before.metadata.annotations!['licensing/enclave'];
  await withVolumes.removeAll('ada');
  expect(annotations()).toEqual([
    { user: 'ad', name: 'a' },
    { user: 'grace', name: 'default' },
  ]);
  expect(cluster.volumes()).toHaveLength(2);
});
