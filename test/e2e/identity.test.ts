import { randomBytes } from 'node:crypto';
import type { Pod } from '../../runtime/kubernetes/objects';
import { makeIdentity } from '../../enclave/identity';
import {
  apply,
  ATTESTOR,
  enclavePods,
  ENCLAVES,
  eventually,
  kubectl,
  list,
  SERVICES,
  tokenOf,
} from './support/cluster';
import { Person } from './support/person';
import { askAttestor, startProbe, stopProbe } from './support/probe';
import type { Answer } from './support/probe';
import { digestOf, imageOf, setting } from './support/settings';

const [label, value] = setting('SLS_NODE_SELECTOR', 'licensing/tpm=2.0').split('=', 2);
const victim = new Person();
const made: string[] = [];
let certificate: Buffer;

beforeAll(async () => {
  certificate = (await makeIdentity('sls.local')).certificate;
  await startProbe();
  await victim.signup();
  await victim.login();
});
afterAll(async () => {
  for (const name of made)
    await kubectl(['delete', 'pod', name, '-n', ENCLAVES, '--ignore-not-found', '--grace-period=0', '--force']);
  await kubectl(['delete', 'node', 'e2e-ghost', '--ignore-not-found']);
  await stopProbe();
  await victim.leave();
});

const ask = (token: string): Promise<Answer> => askAttestor(token, certificate);

/** A token for a pod, as the kubelet would ask for it. */
const tokenFor = (pod: string, audience = 'attestor', account = 'enclave'): Promise<string> =>
  tokenOf(ENCLAVES, account, '--audience', audience, '--bound-object-kind', 'Pod', '--bound-object-name', pod);

/** A pod of the enclaves' namespace that says that it is the victim's enclave. */
async function impostor(
  change: { account?: string; image?: string; extra?: object[]; nodeName?: string; annotations?: object } = {},
): Promise<Pod> {
  const name = `impostor-${randomBytes(4).toString('hex')}`;
  made.push(name);
  const { user } = await victim.status();
  const container = (containerName: string, image: string): object => ({
    name: containerName,
    image,
    command: ['sleep', '3600'],
    securityContext: {
      runAsNonRoot: true,
      allowPrivilegeEscalation: false,
      capabilities: { drop: ['ALL'] },
      seccompProfile: { type: 'RuntimeDefault' },
    },
  });
  await apply([
    {
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name, namespace: ENCLAVES, annotations: change.annotations ?? { 'licensing/user': user } },
      spec: {
        serviceAccountName: change.account ?? 'enclave',
        automountServiceAccountToken: false,
        terminationGracePeriodSeconds: 0,
        ...(change.nodeName === undefined
          ? { nodeSelector: { [label ?? '']: value ?? '' } }
          : { nodeName: change.nodeName }),
        containers: [container('user-container', change.image ?? imageOf('enclave')), ...(change.extra ?? [])],
      },
    },
  ]);
  if (change.nodeName === undefined)
    await kubectl(['wait', '--for=condition=Ready', '--timeout=60s', '-n', ENCLAVES, `pod/${name}`]);
  const pod = (await list<Pod>('pods', ENCLAVES)).find(({ metadata }) => metadata.name === name);
  if (pod === undefined) throw new Error('the impostor is not there');
  return pod;
}

test('identity comes from TokenReview and the API server alone: a token is known for its own pod, whatever the asker says', async () => {
  const { user, claims } = await victim.status();
  const [pod] = await enclavePods(user);
  expect(claims).toMatchObject({
    user,
    workload: pod?.metadata.uid,
    image: digestOf('enclave'),
    node: pod?.spec?.nodeName,
  });
  // The enclave of that pod has its stream.
  expect(await ask(await tokenFor(pod?.metadata.name ?? ''))).toEqual({ code: 'attestor.stream_open' });
});

test('a token of another audience is refused', async () => {
  const [pod] = await enclavePods((await victim.status()).user);
  expect(await ask(await tokenFor(pod?.metadata.name ?? '', 'https://kubernetes.default.svc.cluster.local'))).toEqual({
    code: 'attestor.token_refused',
  });
  expect(await ask(await tokenFor(pod?.metadata.name ?? '', 'vault'))).toEqual({ code: 'attestor.token_refused' });
});

test('what is no token is refused', async () => {
  for (const token of ['x', 'a.b.c', 'eyJhbGciOiJub25lIn0.eyJzdWIiOiJ4In0.'])
    expect(await ask(token)).toEqual({ code: 'attestor.token_refused' });
});

test('another namespace is refused, although the audience is right', async () => {
  expect(await ask(await tokenOf(SERVICES, 'login', '--audience', 'attestor'))).toEqual({
    code: 'attestor.wrong_account',
  });
  expect(await ask(await tokenOf(ATTESTOR, 'attestor', '--audience', 'attestor'))).toEqual({
    code: 'attestor.wrong_account',
  });
});

test('another service account of the same namespace is refused', async () => {
  const pod = await impostor({ account: 'default' });
  expect(await ask(await tokenFor(pod.metadata.name, 'attestor', 'default'))).toEqual({
    code: 'attestor.wrong_account',
  });
});

test('a token that is bound to no pod is refused', async () => {
  expect(await ask(await tokenOf(ENCLAVES, 'enclave', '--audience', 'attestor'))).toEqual({ code: 'attestor.no_pod' });
});

test('the token of a deleted pod is refused', async () => {
  const pod = await impostor();
  const token = await tokenFor(pod.metadata.name);
  await kubectl(['delete', 'pod', pod.metadata.name, '-n', ENCLAVES, '--grace-period=0', '--force']);
  await eventually('the API server forgets it', async () => (await ask(token)).code === 'attestor.token_refused', 90);
  expect((await ask(token)).claims).toBeUndefined();
});

test('a pod of another node is refused', async () => {
  await apply([{ apiVersion: 'v1', kind: 'Node', metadata: { name: 'e2e-ghost' } }]);
  const pod = await impostor({ nodeName: 'e2e-ghost' });
  expect(await ask(await tokenFor(pod.metadata.name))).toEqual({ code: 'attestor.other_node' });
});

test('another image is refused, although it calls itself the enclave', async () => {
  const pod = await impostor({ image: imageOf('login') });
  expect(await ask(await tokenFor(pod.metadata.name))).toEqual({ code: 'attestor.wrong_image' });
});

test('a pod that holds a container beside the enclave is refused', async () => {
  const guest = {
    name: 'guest',
    image: imageOf('login'),
    command: ['sleep', '3600'],
    securityContext: {
      runAsNonRoot: true,
      allowPrivilegeEscalation: false,
      capabilities: { drop: ['ALL'] },
      seccompProfile: { type: 'RuntimeDefault' },
    },
  };
  const pod = await impostor({ extra: [guest] });
  expect(await ask(await tokenFor(pod.metadata.name))).toEqual({ code: 'attestor.foreign_container' });
});

test('a pod that runs a command of its own in the image of the enclave is refused', async () => {
  const pod = await impostor();
  expect(await ask(await tokenFor(pod.metadata.name))).toEqual({ code: 'attestor.foreign_code' });
});

test('a pod without a user is refused', async () => {
  const pod = await impostor({ annotations: { note: 'nobody' } });
  expect(await ask(await tokenFor(pod.metadata.name))).toEqual({ code: 'attestor.no_user' });
});
