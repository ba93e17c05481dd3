import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { status } from '@grpc/grpc-js';
import { load } from 'js-yaml';
import { KubernetesIdentity } from '../../../attestor-daemon/identity/kubernetes';
import type { Container, KnativeService, Pod, TokenReview } from '../../../runtime/kubernetes/objects';
import type { Clock } from '../../../runtime/clock';
import { TestClock } from '../../support/clock';
import { FakeApiServer } from '../../support/fake-api-server';
import type { FakeAnswer, FakeRequest } from '../../support/fake-api-server';

const DIGEST = `sha256:${'a'.repeat(64)}`;
const OTHER = `sha256:${'b'.repeat(64)}`;
const TOKEN = `${Buffer.from('{"alg":"RS256"}').toString('base64url')}.${Buffer.from('{"exp":2000000000}').toString('base64url')}.c2ln`;

const PREFIX = 'authentication.kubernetes.io';
let review: NonNullable<TokenReview['status']>;
let pod: Pod | undefined;
let fake: FakeApiServer;

function answer(request: FakeRequest): FakeAnswer {
  if (request.method === 'POST') return { status: 201, body: { status: review } };
  return pod === undefined ? { status: 404, body: { reason: 'NotFound' } } : { body: pod };
}

beforeEach(async () => {
  review = {
    authenticated: true,
    audiences: ['attestor'],
    user: {
      username: 'system:serviceaccount:enclaves:enclave',
      extra: {
        [`${PREFIX}/pod-name`]: ['pod-1'],
        [`${PREFIX}/pod-uid`]: ['uid-1'],
        [`${PREFIX}/node-name`]: ['node-1'],
      },
    },
  };
  pod = {
    metadata: { name: 'pod-1', uid: 'uid-1', annotations: { 'licensing/user': 'user-1' } },
    spec: { nodeName: 'node-1', containers: [{ name: 'user-container' }, { name: 'queue-proxy' }] },
    status: {
      phase: 'Running',
      containerStatuses: [
        { name: 'queue-proxy', imageID: `registry/queue@${OTHER}`, state: { running: {} } },
        {
          name: 'user-container',
          imageID: `registry/enclave@${DIGEST}`,
          state: { running: {} },
        },
      ],
    },
  };
  fake = await FakeApiServer.start(answer);
});
afterEach(() => fake.stop());

const identity = (patienceMs = 300, clock?: Clock): KubernetesIdentity =>
  new KubernetesIdentity({
    api: fake.api(2),
    node: 'node-1',
    namespace: 'enclaves',
    serviceAccount: 'enclave',
    imageDigests: [DIGEST],
    patienceMs,
    ...(clock && { clock }),
  });

const extra = (): Record<string, string[]> => review.user?.extra ?? {};

test('user, UID, image and node of a pod come from the API server', async () => {
  await expect(identity().identify(TOKEN)).resolves.toEqual({
    user: 'user-1',
    workloadUid: 'uid-1',
    name: 'pod-1',
    imageDigest: DIGEST,
    node: 'node-1',
    expiresAt: 2000000000,
  });
  expect(fake.requests[0]).toMatchObject({
    path: '/apis/authentication.k8s.io/v1/tokenreviews',
    body: { spec: { token: TOKEN, audiences: ['attestor'] } },
  });
  expect(fake.requests[1]).toMatchObject({ path: '/api/v1/namespaces/enclaves/pods/pod-1' });
});

const refusals: Array<[string, string, status, () => void]> = [
  [
    'a token that is not live',
    'attestor.token_refused',
    status.UNAUTHENTICATED,
    () => (review = { authenticated: false, error: 'expired' }),
  ],
  [
    'a token that is not live, whatever else the answer says',
    'attestor.token_refused',
    status.UNAUTHENTICATED,
    () => (review.authenticated = false),
  ],
  [
    'a token of another audience',
    'attestor.token_refused',
    status.UNAUTHENTICATED,
    () => (review.audiences = ['https://kubernetes.default.svc']),
  ],
  ['a token without audience', 'attestor.token_refused', status.UNAUTHENTICATED, () => delete review.audiences],
  [
    'another namespace',
    'attestor.wrong_account',
    status.PERMISSION_DENIED,
    () => (review.user!.username = 'system:serviceaccount:other:enclave'),
  ],
  [
    'another service account',
    'attestor.wrong_account',
    status.PERMISSION_DENIED,
    () => (review.user!.username = 'system:serviceaccount:enclaves:default'),
  ],
  [
    'a user who is no service account',
    'attestor.wrong_account',
    status.PERMISSION_DENIED,
    () => (review.user!.username = 'admin'),
  ],
  [
    'a token that is bound to no pod',
    'attestor.no_pod',
    status.PERMISSION_DENIED,
    () => delete extra()[`${PREFIX}/pod-uid`],
  ],
  [
    'a pod of another node',
    'attestor.other_node',
    status.PERMISSION_DENIED,
    () => (extra()[`${PREFIX}/node-name`] = ['node-2']),
  ],
  [
    'a token that names no node',
    'attestor.other_node',
    status.PERMISSION_DENIED,
    () => delete extra()[`${PREFIX}/node-name`],
  ],
  [
    'a pod that the API server has on another node',
    'attestor.other_node',
    status.PERMISSION_DENIED,
    () => (pod!.spec!.nodeName = 'node-2'),
  ],
  ['a pod that is gone', 'attestor.pod_gone', status.PERMISSION_DENIED, () => (pod = undefined)],
  [
    'another pod under the same name',
    'attestor.pod_gone',
    status.PERMISSION_DENIED,
    () => (pod!.metadata.uid = 'uid-2'),
  ],
  [
    'a pod that is being deleted',
    'attestor.pod_ending',
    status.PERMISSION_DENIED,
    () => (pod!.metadata.deletionTimestamp = '2026-01-01T00:00:00Z'),
  ],
  ['a pod that has ended', 'attestor.pod_ended', status.PERMISSION_DENIED, () => (pod!.status!.phase = 'Failed')],
  ['a pod of nobody', 'attestor.no_user', status.PERMISSION_DENIED, () => delete pod!.metadata.annotations],
  [
    'another image',
    'attestor.wrong_image',
    status.PERMISSION_DENIED,
    () => (pod!.status!.containerStatuses![1]!.imageID = `registry/enclave@${OTHER}`),
  ],
  [
    'another container in the pod',
    'attestor.foreign_container',
    status.PERMISSION_DENIED,
    () => pod!.spec!.containers!.push({ name: 'guest' }),
  ],
  [
    'an ephemeral container in the pod',
    'attestor.foreign_container',
    status.PERMISSION_DENIED,
    () => (pod!.spec!.ephemeralContainers = [{ name: 'debugger' }]),
  ],
  [
    'an init container in the pod',
    'attestor.foreign_container',
    status.PERMISSION_DENIED,
    () => (pod!.spec!.initContainers = [{ name: 'first' }]),
  ],
  [
    'a command of its own',
    'attestor.foreign_code',
    status.PERMISSION_DENIED,
    () => (pod!.spec!.containers![0]!.command = ['sh']),
  ],
  [
    'arguments of its own',
    'attestor.foreign_code',
    status.PERMISSION_DENIED,
    () => (pod!.spec!.containers![0]!.args = ['-e', '1']),
  ],
  [
    'a hook that runs a command',
    'attestor.foreign_code',
    status.PERMISSION_DENIED,
    () => (pod!.spec!.containers![0]!.lifecycle = { postStart: { exec: {} } }),
  ],
  [
    'a probe that runs a command',
    'attestor.foreign_code',
    status.PERMISSION_DENIED,
    () => (pod!.spec!.containers![0]!.livenessProbe = { exec: {} }),
  ],
  [
    'variables that load code',
    'attestor.foreign_code',
    status.PERMISSION_DENIED,
    () => (pod!.spec!.containers![0]!.env = [{ name: 'NODE_OPTIONS' }]),
  ],
  [
    'variables from elsewhere',
    'attestor.foreign_code',
    status.PERMISSION_DENIED,
    () => (pod!.spec!.containers![0]!.envFrom = [{}]),
  ],
  [
    'a volume over the program',
    'attestor.foreign_code',
    status.PERMISSION_DENIED,
    () => (pod!.spec!.containers![0]!.volumeMounts = [{ name: 'v', mountPath: '/app/' }]),
  ],
  [
    'a volume under /usr',
    'attestor.foreign_code',
    status.PERMISSION_DENIED,
    () => (pod!.spec!.containers![0]!.volumeMounts = [{ name: 'v', mountPath: '/usr/local/bin' }]),
  ],
  [
    'a volume over everything',
    'attestor.foreign_code',
    status.PERMISSION_DENIED,
    () => (pod!.spec!.containers![0]!.volumeMounts = [{ name: 'v', mountPath: '/' }]),
  ],
  [
    'a variable by which OpenSSL loads modules',
    'attestor.foreign_code',
    status.PERMISSION_DENIED,
    () => (pod!.spec!.containers![0]!.env = [{ name: 'OPENSSL_CONF' }]),
  ],
  [
    'a file that the loader loads libraries by',
    'attestor.foreign_code',
    status.PERMISSION_DENIED,
    () => (pod!.spec!.containers![0]!.volumeMounts = [{ name: 'v', mountPath: '/etc/ld.so.preload' }]),
  ],
  [
    'a volume over the configuration of OpenSSL',
    'attestor.foreign_code',
    status.PERMISSION_DENIED,
    () => (pod!.spec!.containers![0]!.volumeMounts = [{ name: 'v', mountPath: '/etc/ssl' }]),
  ],
  [
    'a volume out of a data folder',
    'attestor.foreign_code',
    status.PERMISSION_DENIED,
    () => (pod!.spec!.containers![0]!.volumeMounts = [{ name: 'v', mountPath: '/run/../usr' }]),
  ],
  [
    'an image that is known by tag only',
    'attestor.pod_starting',
    status.UNAVAILABLE,
    () => (pod!.status!.containerStatuses![1]!.imageID = 'registry/enclave:latest'),
  ],
];

test.each(refusals)('%s is refused', async (_title, code, grpcStatus, change) => {
  change();
  await expect(identity().identify(TOKEN)).rejects.toMatchObject({ name: 'RpcError', code, grpcStatus });
});

test('the volumes, variables and probes of the enclaves that login makes are not foreign', async () => {
  const template = load(readFileSync(join(__dirname, '../../../knative/base/enclave.yaml'), 'utf8')) as KnativeService;
  pod!.spec!.containers![0] = template.spec.template.spec.containers[0] as Container;
  pod!.spec!.containers![0].lifecycle = { preStop: {} }; // Knative's own: its proxy drains first
  await expect(identity().identify(TOKEN)).resolves.toMatchObject({ user: 'user-1' });
});

test('a token of absurd length is refused before the API server is asked', async () => {
  await expect(identity().identify('x'.repeat(9000))).toRejectWithCode('attestor.token_refused');
  await expect(identity().identify('')).toRejectWithCode('attestor.token_refused');
  expect(fake.requests).toEqual([]);
});

describe('a pod that showed a certificate', () => {
  const gone = (): Promise<boolean> => identity().isGone({ workloadUid: 'uid-1', name: 'pod-1' });

  test('is there whether its container runs or not', async () => {
    expect(await gone()).toBe(false);
    pod!.status = { phase: 'Pending', containerStatuses: [] };
    expect(await gone()).toBe(false);
  });

  test('is gone when it is, and when another has its name', async () => {
    pod!.metadata.uid = 'uid-2';
    expect(await gone()).toBe(true);
    pod = undefined;
    expect(await gone()).toBe(true);
  });

  test('is not called gone by an API server that does not answer', async () => {
    await fake.stop();
    await expect(gone()).toRejectWithCode('attestor.cluster_unavailable');
  });
});

test('a pod whose image is not reported yet is waited for', async () => {
  const statuses = structuredClone(pod!.status!.containerStatuses!);
  pod!.status = { phase: 'Pending', containerStatuses: [] };
  const clock = new TestClock();
  const identified = identity(5_000, clock).identify(TOKEN);
  for (let looks = 0; looks < 3; looks++) {
    await clock.untilWaiting();
    await clock.advance(clock.waits[0]!);
  }
  await clock.untilWaiting();
  pod!.status = { phase: 'Running', containerStatuses: statuses };
  await clock.advance(clock.waits[0]!);
  await expect(identified).resolves.toMatchObject({ imageDigest: DIGEST });
});

test('an API server that does not answer is told from a refusal', async () => {
  await fake.stop();
  await expect(identity().identify(TOKEN)).toRejectWithCode('attestor.cluster_unavailable', {
    grpcStatus: status.UNAVAILABLE,
  });
});
