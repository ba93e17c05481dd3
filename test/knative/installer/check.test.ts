import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { checkCluster } from '../../../knative/installer/check';
import { checkChoicesOf } from '../../../knative/installer/check-choices';
import type { CheckChoices } from '../../../knative/installer/check-choices';
import { checkInstallation, PROGRAMS } from '../../../knative/installer/installation';
import { describeFinding } from '../../../knative/installer/findings';
import type { Finding } from '../../../knative/installer/findings';
import { FakeApiServer } from '../../support/fake-api-server';
import type { FakeAnswer, FakeRequest } from '../../support/fake-api-server';

const CHOICES: CheckChoices = {
  postgres: true,
  hardwareTpm: true,
  nodeSelector: 'licensing/tpm=2.0',
  enclaveTemplate: readFileSync(join(__dirname, '../../../knative/base/enclave.yaml'), 'utf8'),
  network: {},
  metrics: true,
};
const SERVING = '/apis/apps/v1/namespaces/knative-serving/deployments';
const DRY_RUN = '/apis/serving.knative.dev/v1/namespaces/default/services';
const CONFIG = '/api/v1/namespaces/knative-serving/configmaps';

const items = (...list: object[]): object => ({ metadata: {}, items: list });
const deployment = (name: string, availableReplicas = 1): object => ({
  metadata: { name, labels: { 'app.kubernetes.io/version': '1.17.0' } },
  spec: { replicas: 1 },
  status: { availableReplicas },
});
const node = (name: string, rest: { spec?: object; ready?: string; tpm?: string } = {}): object => ({
  metadata: { name },
  spec: rest.spec ?? {},
  status: {
    allocatable: { 'squat.ai/tpm': rest.tpm ?? '1' },
    conditions: [{ type: 'Ready', status: rest.ready ?? 'True' }],
  },
});
const lease = (name: string, ahead: number): object => ({
  metadata: { name },
  spec: { renewTime: new Date(Date.now() + ahead * 1_000).toISOString() },
});
const config = (data: Record<string, string>): object => ({ metadata: { name: 'x' }, data });

/** A cluster in which nothing is wrong. */
const good = (): Record<string, object> => ({
  '/version': { gitVersion: 'v1.33.1' },
  '/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases': items(lease('node-a', -5), lease('node-b', -9)),
  '/apis/serving.knative.dev/v1': { kind: 'APIResourceList' },
  '/apis/monitoring.coreos.com/v1': { kind: 'APIResourceList' },
  [SERVING]: items(...['controller', 'webhook', 'activator', 'autoscaler'].map((name) => deployment(name))),
  [DRY_RUN]: {},
  [`${CONFIG}/config-network`]: config({
    'ingress-class': 'kourier.ingress.networking.knative.dev',
    'external-domain-tls': 'Enabled',
  }),
  [`${CONFIG}/config-domain`]: config({ 'sls.example.com': '', _example: 'example.com: |' }),
  [`${SERVING}/net-kourier-controller`]: deployment('net-kourier-controller'),
  '/apis/apps/v1/namespaces/kourier-system/deployments/3scale-kourier-gateway': deployment('3scale-kourier-gateway'),
  '/apis/discovery.k8s.io/v1/namespaces/kube-system/endpointslices': items({
    metadata: { name: 'kube-dns-1' },
    endpoints: [{ conditions: { ready: true } }, { conditions: { ready: true } }],
  }),
  '/apis/discovery.k8s.io/v1/namespaces/openshift-dns/endpointslices': items(),
  '/apis/discovery.k8s.io/v1/namespaces/default/endpointslices': items({
    metadata: { name: 'kubernetes' },
    ports: [{ port: 6443 }],
  }),
  '/apis/storage.k8s.io/v1/storageclasses': items({
    metadata: { name: 'standard', annotations: { 'storageclass.kubernetes.io/is-default-class': 'true' } },
    provisioner: 'rancher.io/local-path',
  }),
  '/api/v1/nodes': items(node('node-a'), node('node-b')),
});

let objects: Record<string, object>;
let intercept: (request: FakeRequest) => FakeAnswer | undefined;
let server: FakeApiServer;
beforeAll(async () => {
  server = await FakeApiServer.start((request) => {
    const { path } = request;
    const answer = intercept(request);
    if (answer) return answer;
    return objects[path]
      ? { body: objects[path] }
      : { status: 404, body: { reason: 'NotFound', message: 'not found' } };
  });
});
afterAll(() => server.stop());
beforeEach(() => {
  objects = good();
  intercept = () => undefined;
  server.requests.length = 0;
});

/** Names that DNS does not know. */
let unknown: string[] = [];
async function check(choices: Partial<CheckChoices> = {}): Promise<Finding[]> {
  const findings: Finding[] = [];
  const resolve = (name: string): Promise<void> =>
    unknown.includes(name) ? Promise.reject(new Error('ENOTFOUND')) : Promise.resolve();
  for await (const finding of checkCluster(server.api(1), { ...CHOICES, ...choices }, { resolve }))
    findings.push(finding);
  return findings;
}
/** Of all that is found, what isn't ok, one line each. */
const problems = async (choices?: Partial<CheckChoices>): Promise<string[]> =>
  (await check(choices)).filter(({ state }) => state !== 'ok').map(describeFinding);

test('one line for each check, and nothing is changed in the cluster', async () => {
  expect((await check()).map(describeFinding)).toEqual([
    'ok       cluster         Kubernetes v1.33.1',
    'ok       clocks          this machine and 2 nodes agree with the API server',
    'ok       Knative         Serving 1.17.0',
    'ok       features        what the enclaves need is turned on: Knative takes their Service (dry run)',
    'ok       ingress         Kourier',
    'ok       TLS             external domain encryption is on',
    'ok       domain          signup.licensing.sls.example.com, login.licensing.sls.example.com',
    'ok       cluster DNS     kube-dns, 2 ready',
    "ok       network         the API server's port is open to those that ask it",
    'ok       storage class   standard (rancher.io/local-path) is the default',
    'ok       TPM nodes       2 of 2 with licensing/tpm=2.0 ready: node-a, node-b',
    'ok       TPM devices     squat.ai/tpm on node-a, node-b',
    'ok       metrics         PodMonitors are known',
  ]);
  const writes = server.requests.filter(({ method }) => method !== 'GET');
  expect(writes.map(({ method, path, query }) => `${method} ${path} ${query.get('dryRun')}`)).toEqual([
    `POST ${DRY_RUN} All`,
  ]);
  expect(server.requests.find(({ path }) => path === '/api/v1/nodes')?.query.get('labelSelector')).toBe(
    'licensing/tpm=2.0',
  );
});

test('DNS where the installation says that there is none is closed by its own NetworkPolicies', async () => {
  expect(await problems({ network: { dnsNamespaces: ['dns'] } })).toEqual([
    expect.stringContaining('expected kube-system among network.dnsNamespaces, because kube-dns is there, got dns'),
  ]);
});

test("what is asked of Knative's webhook is an enclave's Service, with the node selector", async () => {
  await check({ nodeSelector: 'zone/tpm=yes' });
  expect(server.requests.find(({ method }) => method === 'POST')?.body).toMatchObject({
    kind: 'Service',
    spec: {
      template: {
        spec: {
          nodeSelector: { 'zone/tpm': 'yes' },
          serviceAccountName: 'enclave',
          volumes: expect.arrayContaining([
            expect.objectContaining({ persistentVolumeClaim: { claimName: 'attestor-socket', readOnly: true } }),
          ]) as object,
        },
      },
    },
  });
});

test.each<[string, () => void, string]>([
  [
    'an old cluster',
    () => (objects['/version'] = { gitVersion: 'v1.29.4+k3s1' }),
    'wrong    cluster         expected Kubernetes 1.30 or later, got v1.29.4+k3s1; update the cluster',
  ],
  [
    'one with a feature gate',
    () => (objects['/version'] = { gitVersion: 'v1.31.0' }),
    'warning  cluster         Kubernetes v1.31.0 names nodes in service account tokens by a feature gate alone; turn on ServiceAccountTokenPodNodeInfo, or update to 1.32',
  ],
  [
    'a node whose clock is ahead',
    () =>
      (objects['/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases'] = items(
        lease('node-a', -5),
        lease('node-b', 120),
      )),
    "wrong    clocks          expected the nodes' clocks within 30 s of the API server's, got node-b (12",
  ],
  [
    'a node whose clock is behind',
    () => (objects['/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases'] = items(lease('node-a', -600))),
    's behind); start NTP there, and set the time',
  ],
  [
    'no Knative',
    () => delete objects['/apis/serving.knative.dev/v1'],
    'wrong    Knative         expected Knative Serving, got a cluster without serving.knative.dev/v1; install Knative Serving 1.15 or later',
  ],
  [
    'a webhook that is down',
    () =>
      (objects[SERVING] = items(
        deployment('controller'),
        deployment('webhook', 0),
        deployment('activator'),
        deployment('autoscaler'),
      )),
    'wrong    Knative         expected webhook of Knative in the namespace knative-serving to be available, got none; kubectl describe deployment webhook',
  ],
  [
    'an old Knative',
    () =>
      (objects[SERVING] = items(
        ...['controller', 'webhook', 'activator', 'autoscaler'].map((name) => ({
          ...deployment(name),
          metadata: { name, labels: { 'app.kubernetes.io/version': 'v1.14.1' } },
        })),
      )),
    'wrong    Knative         expected Serving 1.15 or later, got v1.14.1',
  ],
  [
    'no ingress',
    () => delete objects[`${SERVING}/net-kourier-controller`],
    'wrong    ingress         expected Kourier to run, as ingress-class in config-network says, got no deployment net-kourier-controller in knative-serving; install it',
  ],
  [
    'an ingress whose controller is down',
    () => (objects[`${SERVING}/net-kourier-controller`] = deployment('net-kourier-controller', 0)),
    'got no available replica of net-kourier-controller in knative-serving; kubectl describe deployment net-kourier-controller -n knative-serving says why',
  ],
  [
    'an ingress whose gateway is down',
    () => (objects['/apis/apps/v1/namespaces/kourier-system/deployments/3scale-kourier-gateway'] = deployment('x', 0)),
    "wrong    ingress         expected Kourier's gateway to be available, got no replica of it; kubectl describe deployment 3scale-kourier-gateway -n kourier-system",
  ],
  [
    'an ingress of another kind',
    () =>
      (objects[`${CONFIG}/config-network`] = config({
        'ingress-class': 'own.example',
        'external-domain-tls': 'enabled',
      })),
    'warning  ingress         the ingress class own.example is none that is known here: not checked',
  ],
  [
    'no TLS',
    () => (objects[`${CONFIG}/config-network`] = config({ 'ingress-class': 'kourier.ingress.networking.knative.dev' })),
    'warning  TLS             expected external-domain-tls in config-network to be enabled, got it turned off',
  ],
  [
    'no domain',
    () => (objects[`${CONFIG}/config-domain`] = config({ _example: '' })),
    "warning  domain          expected a domain of yours in config-domain, got none: signup and login can't be reached",
  ],
  [
    'a name that DNS does not know',
    () => (unknown = ['login.licensing.sls.example.com']),
    'warning  domain          expected login.licensing.sls.example.com to have an address in DNS, got none from this machine; let *.licensing.sls.example.com lead to the ingress',
  ],
  [
    'cluster DNS elsewhere',
    () => (objects['/apis/discovery.k8s.io/v1/namespaces/kube-system/endpointslices'] = items()),
    'warning  cluster DNS     expected the Service kube-dns in kube-system, got none',
  ],
  [
    'cluster DNS that is down',
    () =>
      (objects['/apis/discovery.k8s.io/v1/namespaces/kube-system/endpointslices'] = items({
        metadata: { name: 'x' },
        endpoints: [{ conditions: { ready: false } }],
      })),
    'wrong    cluster DNS     expected kube-dns to have a ready endpoint, got none',
  ],
  [
    "OpenShift's DNS, which is open by the usual rules",
    () => {
      objects['/apis/discovery.k8s.io/v1/namespaces/kube-system/endpointslices'] = items();
      objects['/apis/discovery.k8s.io/v1/namespaces/openshift-dns/endpointslices'] = items({
        metadata: { name: 'x' },
        endpoints: [{ conditions: { ready: false } }],
      });
    },
    'wrong    cluster DNS     expected dns-default to have a ready endpoint, got none; kubectl get pods -n openshift-dns',
  ],
  [
    "a DNS cache on each node, which may have the address of the cluster's DNS",
    () => {
      objects['/apis/apps/v1/namespaces/kube-system/daemonsets/node-local-dns'] = {};
      objects['/api/v1/namespaces/kube-system/services/kube-dns'] = { spec: { clusterIP: '10.96.0.10' } };
    },
    'warning  cluster DNS     NodeLocal DNSCache may answer at 10.96.0.10, the address of kube-dns, which network.dnsAddresses lacks; where kube-proxy uses iptables it does: dnsAddresses: [169.254.20.10/32, 10.96.0.10/32] in installation.yaml',
  ],
  [
    'an API server by another port',
    () =>
      (objects['/apis/discovery.k8s.io/v1/namespaces/default/endpointslices'] = items({
        metadata: { name: 'kubernetes' },
        ports: [{ port: 16_443 }],
      })),
    "wrong    network         expected the API server's port 16443 among network.apiPorts, got 443, 6443; apiPorts: [443, 6443, 16443] in installation.yaml",
  ],
  [
    'no storage class',
    () => (objects['/apis/storage.k8s.io/v1/storageclasses'] = items()),
    "wrong    storage class   expected a default StorageClass for PostgreSQL's volume, got no StorageClass; install one, or take the overlay external-postgres",
  ],
  [
    'no default storage class',
    () => (objects['/apis/storage.k8s.io/v1/storageclasses'] = items({ metadata: { name: 'slow' } })),
    'got none among slow; kubectl annotate storageclass slow storageclass.kubernetes.io/is-default-class=true',
  ],
  [
    'no node with the label',
    () => (objects['/api/v1/nodes'] = items()),
    'wrong    TPM nodes       expected a node with the label licensing/tpm=2.0, got none; kubectl label node NODE licensing/tpm=2.0',
  ],
  [
    'none that is ready',
    () =>
      (objects['/api/v1/nodes'] = items(
        node('node-a', { ready: 'Unknown' }),
        node('node-b', { spec: { unschedulable: true } }),
      )),
    'wrong    TPM nodes       expected one of the nodes with the label licensing/tpm=2.0 to be ready and schedulable, got none of node-a, node-b',
  ],
  [
    'a node without the device plugin',
    () => (objects['/api/v1/nodes'] = items(node('node-a'), node('node-b', { tpm: '0' }))),
    'wrong    TPM devices     expected squat.ai/tpm among what node-b can give to pods, got none; run a device plugin there',
  ],
  [
    'no Prometheus Operator',
    () => delete objects['/apis/monitoring.coreos.com/v1'],
    'wrong    metrics         expected the Prometheus Operator',
  ],
])('%s is told, in one line, with what to do', async (_, change, line) => {
  unknown = [];
  change();
  const lines = await problems();
  unknown = [];
  expect(lines[0]).toContain(line);
  expect(lines.join('')).not.toContain('\n');
});

test("features that are turned off are named as Knative's webhook refuses them, with the command that turns them on", async () => {
  intercept = ({ method }) =>
    method === 'POST'
      ? {
          status: 400,
          body: {
            reason: 'BadRequest',
            message:
              'admission webhook "validation.webhook.serving.knative.dev" denied the request: validation failed: must not set the field(s): spec.template.spec.nodeSelector, spec.template.spec.volumes[0].persistentVolumeClaim',
          },
        }
      : undefined;
  expect(await problems()).toEqual([
    `wrong    features        expected Knative's features for nodeSelector, persistentVolumeClaim to be enabled, got them turned off; kubectl patch configmap config-features -n knative-serving --type merge -p '{"data":{"kubernetes.podspec-nodeselector":"enabled","kubernetes.podspec-persistent-volume-claim":"enabled"}}'`,
  ]);
});

test('what an installation does without is not asked for', async () => {
  objects['/apis/storage.k8s.io/v1/storageclasses'] = items();
  objects['/api/v1/nodes'] = items(node('node-a', { tpm: '0' }));
  delete objects['/apis/monitoring.coreos.com/v1'];
  expect(await problems({ postgres: false, hardwareTpm: false, metrics: false })).toEqual([]);
  objects['/api/v1/namespaces/licensing/persistentvolumeclaims/data-postgres-0'] = { status: { phase: 'Bound' } };
  expect(await problems({ hardwareTpm: false, metrics: false })).toEqual([]);
});

test("a RuntimeClass and volumes for the enclaves' files are asked for where they are set", async () => {
  const choices = { hardwareTpm: false, runtimeClass: 'gvisor', volumes: { storageClass: 'fast' } };
  expect(await problems(choices)).toEqual([
    'wrong    storage class   expected the StorageClass fast of ENCLAVE_STORAGE_CLASS, got none among standard; make it, or name another one',
    'wrong    runtime class   expected the RuntimeClass gvisor of ENCLAVE_RUNTIME_CLASS, got none; install it on the nodes with a TPM',
  ]);
  objects['/apis/node.k8s.io/v1/runtimeclasses/gvisor'] = { metadata: { name: 'gvisor' } };
  expect(await problems({ ...choices, volumes: {} })).toEqual([]);
  expect(server.requests.findLast(({ method }) => method === 'POST')?.body).toMatchObject({
    spec: {
      template: {
        spec: {
          runtimeClassName: 'gvisor',
          volumes: expect.arrayContaining([
            { name: 'workspace', persistentVolumeClaim: { claimName: 'licensing-check' } },
          ]) as object,
        },
      },
    },
  });
  objects['/apis/storage.k8s.io/v1/storageclasses'] = items();
  expect(await problems({ ...choices, postgres: false, volumes: {} })).toEqual([
    "wrong    storage class   expected a default StorageClass for the enclaves' volumes, got no StorageClass; install one",
  ]);
  intercept = ({ method }) =>
    method === 'POST'
      ? {
          status: 400,
          body: {
            message:
              'validation failed: Persistent volume write support is disabled, but found persistent volume claim licensing-check that is not read-only',
          },
        }
      : undefined;
  expect((await problems({ ...choices, postgres: false, volumes: undefined }))[0]).toContain(
    '"kubernetes.podspec-persistent-volume-write":"enabled"',
  );
});

test('what an installation is decides what is looked at', async () => {
  const installation = checkInstallation({
    overlay: 'external-postgres',
    images: Object.fromEntries(PROGRAMS.map((name) => [name, `x/${name}@sha256:${'0'.repeat(64)}`])),
    nodeSelector: 'a=b',
    settings: { login: { ENCLAVE_RUNTIME_CLASS: 'gvisor', ENCLAVE_VOLUME_SIZE: '1Gi', ENCLAVE_STORAGE_CLASS: 'fast' } },
  });
  const manifests = join(__dirname, '../../../knative');
  expect(await checkChoicesOf(installation, manifests)).toEqual({
    postgres: false,
    hardwareTpm: true,
    nodeSelector: 'a=b',
    network: {},
    metrics: false,
    enclaveTemplate: CHOICES.enclaveTemplate,
    runtimeClass: 'gvisor',
    volumes: { storageClass: 'fast' },
  });
  expect(
    await checkChoicesOf({ ...installation, overlay: 'software-tpm', enclaveTemplate: 'x', settings: {} }, manifests),
  ).toMatchObject({
    postgres: true,
    hardwareTpm: false,
    enclaveTemplate: 'x',
    volumes: undefined,
  });
});

test('what the API refuses to show is a warning, and the rest is checked', async () => {
  intercept = ({ path }) =>
    path === '/api/v1/nodes'
      ? { status: 403, body: { reason: 'Forbidden', message: 'nodes is forbidden' } }
      : undefined;
  expect(await problems()).toEqual([
    'warning  TPM nodes       not checked: 403 Forbidden: nodes is forbidden; look at it yourself, or check with more rights',
    'warning  TPM devices     not checked: 403 Forbidden: nodes is forbidden; look at it yourself, or check with more rights',
  ]);
});

test('a cluster that is not reached is told once', async () => {
  intercept = () => ({ cut: true });
  const lines = (await check()).map(describeFinding);
  expect(lines).toEqual([
    expect.stringMatching(/^wrong {4}cluster {9}the Kubernetes API can't be reached: .*; kubectl version .*\?$/),
  ]);
});
