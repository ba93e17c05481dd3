import type { KubernetesApi } from '../../runtime/kubernetes/api';
import { apiOf, ATTESTOR, ENCLAVES, SERVICES } from './support/cluster';

/** What an attacker who holds the account would try. */
const secrets = (namespace: string) => (api: KubernetesApi) => api.get(`/api/v1/namespaces/${namespace}/secrets`);
const pods = (namespace: string) => (api: KubernetesApi) => api.get(`/api/v1/namespaces/${namespace}/pods`);
const services = (namespace: string) => (api: KubernetesApi) =>
  api.get(`/apis/serving.knative.dev/v1/namespaces/${namespace}/services`);
const createPod = (namespace: string) => (api: KubernetesApi) =>
  api.review(`/api/v1/namespaces/${namespace}/pods`, {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name: 'x' },
    spec: { containers: [{ name: 'x', image: 'x' }] },
  });
const applyService = (namespace: string) => (api: KubernetesApi) =>
  api.apply(
    `/apis/serving.knative.dev/v1/namespaces/${namespace}/services/forbidden-test`,
    {
      apiVersion: 'serving.knative.dev/v1',
      kind: 'Service',
      metadata: { name: 'forbidden-test' },
      spec: { template: { spec: { containers: [{ image: 'x' }] } } },
    },
    'test',
    { query: { dryRun: 'All' } },
  );
const volumes = (namespace: string) => (api: KubernetesApi) =>
  api.get(`/api/v1/namespaces/${namespace}/persistentvolumeclaims`);
const deleteVolume = (namespace: string) => (api: KubernetesApi) =>
  api.delete(`/api/v1/namespaces/${namespace}/persistentvolumeclaims/forbidden-test`, {});
const applyVolume = (namespace: string) => (api: KubernetesApi) =>
  api.apply(
    `/api/v1/namespaces/${namespace}/persistentvolumeclaims/forbidden-test`,
    { apiVersion: 'v1', kind: 'PersistentVolumeClaim', metadata: { name: 'forbidden-test' } },
    'test',
    { query: { dryRun: 'All' } },
  );
const tokenReview = (api: KubernetesApi) =>
  api.review('/apis/authentication.k8s.io/v1/tokenreviews', {
    apiVersion: 'authentication.k8s.io/v1',
    kind: 'TokenReview',
    spec: { token: 'x' },
  });
const issueToken = (namespace: string, account: string) => (api: KubernetesApi) =>
  api.review(`/api/v1/namespaces/${namespace}/serviceaccounts/${account}/token`, {
    apiVersion: 'authentication.k8s.io/v1',
    kind: 'TokenRequest',
    spec: { audiences: ['attestor'] },
  });
const patchPod = (api: KubernetesApi) =>
  api.apply(
    `/api/v1/namespaces/${ENCLAVES}/pods/x`,
    { apiVersion: 'v1', kind: 'Pod', metadata: { name: 'x', annotations: { 'licensing/user': 'victim' } } },
    'test',
  );
const nodes = (api: KubernetesApi) => api.get('/api/v1/nodes');
const roles = (api: KubernetesApi) =>
  api.apply(
    `/apis/rbac.authorization.k8s.io/v1/namespaces/${ENCLAVES}/roles/x`,
    { apiVersion: 'rbac.authorization.k8s.io/v1', kind: 'Role', metadata: { name: 'x' } },
    'test',
  );

const everything: Record<string, (api: KubernetesApi) => Promise<unknown>> = {
  'read Secrets of the services': secrets(SERVICES),
  'read Secrets of the enclaves': secrets(ENCLAVES),
  'read pods of the services': pods(SERVICES),
  'read pods of the enclaves': pods(ENCLAVES),
  'read Knative Services of the enclaves': services(ENCLAVES),
  'read Knative Services of the services': services(SERVICES),
  'make a pod among the enclaves': createPod(ENCLAVES),
  'make a Knative Service among the enclaves': applyService(ENCLAVES),
  'make a Knative Service among the services': applyService(SERVICES),
  'make a Knative Service elsewhere': applyService('default'),
  'read volumes of the enclaves': volumes(ENCLAVES),
  'make a volume among the enclaves': applyVolume(ENCLAVES),
  'delete a volume of the enclaves': deleteVolume(ENCLAVES),
  'read volumes of the services': volumes(SERVICES),
  'delete a volume of the services': deleteVolume(SERVICES),
  'review tokens': tokenReview,
  "issue an enclave's token": issueToken(ENCLAVES, 'enclave'),
  "change a pod's user": patchPod,
  'read nodes': nodes,
  'give itself rights': roles,
};

const accounts: Array<[string, string, string[]]> = [
  [SERVICES, 'signup', []],
  [SERVICES, 'enrol', []],
  [
    SERVICES,
    'admin',
    ['read Knative Services of the enclaves', 'read volumes of the enclaves', 'delete a volume of the enclaves'],
  ],
  [ENCLAVES, 'enclave', []],
  [
    SERVICES,
    'login',
    [
      'read pods of the enclaves',
      'read Knative Services of the enclaves',
      'make a Knative Service among the enclaves',
      'read volumes of the enclaves',
      'make a volume among the enclaves',
      'delete a volume of the enclaves',
    ],
  ],
  [
    SERVICES,
    'reaper',
    [
      'read pods of the enclaves',
      'read Knative Services of the enclaves',
      'read volumes of the enclaves',
      'delete a volume of the enclaves',
    ],
  ],
  [ATTESTOR, 'attestor', ['review tokens']],
];

test.each(accounts)('%s/%s may do no more than it needs', async (namespace, account, allowed) => {
  const api = await apiOf(namespace, account);
  const verdicts: Record<string, string> = {};
  for (const [deed, attempt] of Object.entries(everything)) {
    verdicts[deed] = await attempt(api).then(
      () => 'allowed',
      // Whatever comes after authorization, such as a webhook's complaint, is a right that was there.
      (error: { status?: number }) => (error.status === 403 ? 'forbidden' : 'allowed'),
    );
  }
  const expected = Object.fromEntries(
    Object.keys(everything).map((deed) => [deed, allowed.includes(deed) ? 'allowed' : 'forbidden']),
  );
  expect(verdicts).toEqual(expected);
});

test('the attestor reads single pods of the enclaves, and no others', async () => {
  const api = await apiOf(ATTESTOR, 'attestor');
  await expect(api.find(`/api/v1/namespaces/${ENCLAVES}/pods/nobody`)).resolves.toBeUndefined();
  await expect(api.get(`/api/v1/namespaces/${SERVICES}/pods/nobody`)).rejects.toMatchObject({ status: 403 });
});
