import { load } from 'js-yaml';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { enclaveService, enclaveVolume } from '../../functions/login/launcher/knative-service';
import type { KubernetesApi } from '../../runtime/kubernetes/api';
import type { KnativeService, PersistentVolumeClaim } from '../../runtime/kubernetes/objects';
import { apiOf, ENCLAVES, SERVICES } from './support/cluster';
import { imageOf, setting } from './support/settings';

const name = `enclave-${'a'.repeat(20)}`;
const [label = '', value = ''] = setting('SLS_NODE_SELECTOR', 'licensing/tpm=2.0').split('=', 2);
const kind = {
  namespace: ENCLAVES,
  template: load(readFileSync(join(__dirname, '../../knative/base/enclave.yaml'), 'utf8')) as KnativeService,
  image: imageOf('enclave'),
  trustDomain: 'sls.local',
  nodeSelector: { [label]: value },
  volume: { size: '1Gi' },
};
const marks = { name, enclave: { user: 'u', name: 'default' }, installation: 'i' };
const options = { query: { dryRun: 'All' } };

let login: KubernetesApi;
beforeAll(async () => {
  login = await apiOf(SERVICES, 'login');
});

interface Pod {
  containers: Array<Record<string, unknown>>;
  volumes: object[];
  [field: string]: unknown;
}

/** As login itself makes one, with a change. Refused or not, nothing stays of it. */
async function make(change: (pod: Pod, service: KnativeService) => void): Promise<void> {
  const service = enclaveService(kind, { ...marks, now: new Date() });
  change(service.spec.template.spec as unknown as Pod, service);
  const path = `/apis/serving.knative.dev/v1/namespaces/${ENCLAVES}/services/${service.metadata.name}`;
  await login.apply(path, service, 'test', options);
}

test('login may make an enclave as the template has it', async () => {
  await expect(make(() => undefined)).resolves.toBeUndefined();
});

test.each<[string, Parameters<typeof make>[0], string]>([
  ['another image', (pod) => (pod.containers[0]!['image'] = `evil.example/x@sha256:${'b'.repeat(64)}`), 'image'],
  ['the image by a tag', (pod) => (pod.containers[0]!['image'] = 'evil.example/x:1'), 'image'],
  ["another program of the enclave's image", (pod) => (pod.containers[0]!['command'] = ['/bin/sh']), 'own program'],
  ['other arguments', (pod) => (pod.containers[0]!['args'] = ['-e', '1']), 'own program'],
  ['a second container', (pod) => pod.containers.push({ name: 'x', image: imageOf('enclave') }), 'one container'],
  ['another account', (pod) => (pod['serviceAccountName'] = 'default'), 'account'],
  ['a token for the API server', (pod) => (pod['automountServiceAccountToken'] = true), 'account'],
  ['another node', (pod) => (pod['nodeSelector'] = { 'kubernetes.io/os': 'linux' }), 'nodes'],
  ['no choice of nodes', (pod) => delete pod['nodeSelector'], 'nodes'],
  ["another user's volume", claim(`enclave-${'b'.repeat(20)}`), 'mounts'],
  ["the attestor's socket for writing", claim('attestor-socket'), 'mounts'],
  ['a Secret', (pod) => pod.volumes.push({ name: 'x', secret: { secretName: 'x' } }), 'mounts'],
  ['another ConfigMap', (pod) => pod.volumes.push({ name: 'x', configMap: { name: 'kube-root-ca.crt' } }), 'mounts'],
  ['a token for another audience', tokenFor('https://kubernetes.default.svc'), 'mounts'],
  ['a Secret in its environment', environment({ secretKeyRef: { name: 'x', key: 'y' } }), 'environment'],
  ['another name', (_, service) => (service.metadata.name = 'login'), 'enclave-'],
])('an enclave with %s is refused to login', async (_, change, word) => {
  await expect(make(change)).rejects.toMatchObject({ status: 422, message: expect.stringContaining(word) as string });
});

function claim(claimName: string): Parameters<typeof make>[0] {
  return (pod) => pod.volumes.push({ name: 'x', persistentVolumeClaim: { claimName } });
}
function tokenFor(audience: string): Parameters<typeof make>[0] {
  const sources = [{ serviceAccountToken: { audience, path: 'token' } }];
  return (pod) => pod.volumes.push({ name: 'x', projected: { sources } });
}
function environment(valueFrom: object): Parameters<typeof make>[0] {
  return (pod) => (pod.containers[0]!['env'] as object[]).push({ name: 'X', valueFrom });
}

const volumes = `/api/v1/namespaces/${ENCLAVES}/persistentvolumeclaims`;

async function makeVolume(change: (claim: PersistentVolumeClaim) => void): Promise<void> {
  const volume = enclaveVolume(kind, marks);
  change(volume);
  await login.apply(`${volumes}/${volume.metadata.name}`, volume, 'test', options);
}

test("login may make an enclave's volume", async () => {
  await expect(makeVolume(() => undefined)).resolves.toBeUndefined();
});

test.each<[string, Parameters<typeof makeVolume>[0]]>([
  ['of another name', ({ metadata }) => (metadata.name = 'data')],
  ['that names a volume', ({ spec }) => Object.assign(spec!, { volumeName: 'licensing-attestor-socket' })],
  [
    'copied from another',
    ({ spec }) => Object.assign(spec!, { dataSource: { kind: 'PersistentVolumeClaim', name: 'x' } }),
  ],
  ['for many nodes', ({ spec }) => Object.assign(spec!, { accessModes: ['ReadWriteMany'] })],
])('a volume %s is refused to login', async (_, change) => {
  await expect(makeVolume(change)).rejects.toMatchObject({ status: 422 });
});

test.each(['login', 'admin', 'reaper'])("%s can't take the attestor's socket from the enclaves", async (account) => {
  const api = await apiOf(SERVICES, account);
  await expect(api.delete(`${volumes}/attestor-socket`, {}, options)).rejects.toMatchObject({
    status: 422,
    message: expect.stringContaining('enclave-') as string,
  });
});
