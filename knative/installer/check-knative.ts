import { lookup } from 'node:dns/promises';
import { load } from 'js-yaml';
import type { KubernetesApi } from '../../runtime/kubernetes/api';
import { KubernetesError } from '../../runtime/kubernetes/errors';
import type { ConfigMap, KnativeService, List, ObjectMeta } from '../../runtime/kubernetes/objects';
import type { CheckChoices } from './check-choices';
import { ok, warning, wrong } from './findings';
import type { Found } from './findings';
import { SERVICES } from './keys';

/** Where Knative Serving and its ingresses' controllers run. */
const SERVING = 'knative-serving';
const OLDEST = [1, 15] as const;
const INSTALL = 'install Knative Serving 1.15 or later: https://knative.dev/docs/install/';

interface Deployment {
  metadata: ObjectMeta;
  spec?: { replicas?: number };
  status?: { availableReplicas?: number };
}

const deploymentsPath = (namespace: string): string => `/apis/apps/v1/namespaces/${namespace}/deployments`;

/** Knative Serving: there, of a version that is known to work, and running. */
export async function checkKnative(api: KubernetesApi): Promise<Found> {
  if ((await api.find('/apis/serving.knative.dev/v1')) === undefined)
    return wrong('expected Knative Serving, got a cluster without serving.knative.dev/v1', INSTALL);
  const { items } = await api.get<List<Deployment>>(deploymentsPath(SERVING));
  const named = ['controller', 'webhook', 'activator', 'autoscaler'].map((name) => ({
    name,
    deployment: items.find(({ metadata }) => metadata.name === name),
  }));
  const down = named.filter(({ deployment }) => !isUp(deployment)).map(({ name }) => name);
  if (down.length > 0)
    return wrong(
      `expected ${down.join(', ')} of Knative in the namespace ${SERVING} to be available, got none`,
      `kubectl describe deployment ${down[0]} -n ${SERVING} says why`,
    );
  const version = named[0]?.deployment?.metadata.labels?.['app.kubernetes.io/version'];
  if (version === undefined) return ok('Serving, of a version that its labels do not say');
  const [major = 0, minor = 0] = version.replace(/^v/, '').split('.').map(Number);
  if (major < OLDEST[0] || (major === OLDEST[0] && minor < OLDEST[1]))
    return wrong(`expected Serving ${OLDEST.join('.')} or later, got ${version}`, INSTALL);
  return ok(`Serving ${version}`);
}

function isUp(deployment: Deployment | undefined): boolean {
  return (
    deployment !== undefined && (deployment.spec?.replicas === 0 || (deployment.status?.availableReplicas ?? 0) > 0)
  );
}

/** Each feature by the field that Knative's webhook refuses without it. */
const FEATURES: Record<string, string> = {
  nodeSelector: 'kubernetes.podspec-nodeselector',
  persistentVolumeClaim: 'kubernetes.podspec-persistent-volume-claim',
  runtimeClassName: 'kubernetes.podspec-runtimeclassname',
  securityContext: 'kubernetes.podspec-securitycontext',
  tolerations: 'kubernetes.podspec-tolerations',
  affinity: 'kubernetes.podspec-affinity',
  priorityClassName: 'kubernetes.podspec-priorityclassname',
  emptyDir: 'kubernetes.podspec-volumes-emptydir',
  'persistent volume write support': 'kubernetes.podspec-persistent-volume-write',
};

type EnclaveChoices = Pick<CheckChoices, 'enclaveTemplate' | 'nodeSelector' | 'runtimeClass' | 'volumes'>;

/**
 * Knative's features: asked of its webhook, by an enclave's Service that is not made (dry run). What a feature is by default differs from release to release, and
 * the webhook is who refuses.
 */
export async function checkFeatures(api: KubernetesApi, choices: EnclaveChoices): Promise<Found> {
  const service = enclaveService(choices);
  try {
    await api.create('/apis/serving.knative.dev/v1/namespaces/default/services', service, { query: { dryRun: 'All' } });
    return ok('what the enclaves need is turned on: Knative takes their Service (dry run)');
  } catch (error) {
    if (!(error instanceof KubernetesError) || error.status === 403 || error.status >= 500) throw error;
    const missing = Object.keys(FEATURES).filter((field) => new RegExp(`\\b${field}\\b`, 'i').test(error.message));
    if (missing.length === 0)
      return wrong(
        `expected Knative to take the enclaves' Service, got ${error.message}`,
        'change the template (--enclave-template), or Knative',
      );
    const data = Object.fromEntries(missing.map((field) => [FEATURES[field], 'enabled']));
    return wrong(
      `expected Knative's features for ${missing.join(', ')} to be enabled, got them turned off`,
      `kubectl patch configmap config-features -n ${SERVING} --type merge -p '${JSON.stringify({ data })}'`,
    );
  }
}

/** As login makes it (functions/login/launcher/knative-service.ts), with what Knative's features are about. */
function enclaveService({ enclaveTemplate, nodeSelector, runtimeClass, volumes }: EnclaveChoices): KnativeService {
  const template = load(enclaveTemplate) as KnativeService;
  const [label = '', value = ''] = nodeSelector.split('=', 2);
  const { spec } = template.spec.template;
  const others = ((spec['volumes'] ?? []) as Array<{ name: string }>).filter(({ name }) => name !== 'workspace');
  return {
    ...template,
    metadata: { name: 'licensing-check', namespace: 'default' },
    spec: {
      template: {
        ...template.spec.template,
        spec: {
          ...spec,
          containers: spec.containers.map((container) => ({ ...container, image: 'licensing.invalid/enclave' })),
          nodeSelector: { [label]: value },
          ...(runtimeClass !== undefined && { runtimeClassName: runtimeClass }),
          ...(volumes && {
            volumes: [...others, { name: 'workspace', persistentVolumeClaim: { claimName: 'licensing-check' } }],
          }),
        },
      },
    },
  };
}

/** What stands behind an ingress class, where that is known: the controller's deployment, and the gateway that takes the connections. */
const INGRESSES: Record<
  string,
  { name: string; controller: string; gateways: Array<[namespace: string, name: string]> }
> = {
  'kourier.ingress.networking.knative.dev': {
    name: 'Kourier',
    controller: 'net-kourier-controller',
    gateways: [
      ['kourier-system', '3scale-kourier-gateway'],
      [SERVING, '3scale-kourier-gateway'],
    ],
  },
  'istio.ingress.networking.knative.dev': {
    name: 'Istio',
    controller: 'net-istio-controller',
    gateways: [['istio-system', 'istio-ingressgateway']],
  },
  'contour.ingress.networking.knative.dev': {
    name: 'Contour',
    controller: 'net-contour-controller',
    gateways: [['contour-external', 'contour']],
  },
  'gateway-api.ingress.networking.knative.dev': {
    name: 'Gateway API',
    controller: 'net-gateway-api-controller',
    gateways: [],
  },
};

/** The ingress that Knative is told to use: its controller and its gateway run. */
export async function checkIngress(api: KubernetesApi): Promise<Found> {
  const config = await networkConfig(api);
  const className = config['ingress-class'] ?? config['ingress.class'] ?? 'istio.ingress.networking.knative.dev';
  const known = INGRESSES[className];
  if (known === undefined)
    return warning(
      `the ingress class ${className} is none that is known here: not checked`,
      'make sure that it runs and passes HTTP/2; name its namespaces in installation.yaml (network.ingressNamespaces)',
    );
  const { name, controller, gateways } = known;
  const there = await api.find<Deployment>(`${deploymentsPath(SERVING)}/${controller}`);
  if (!isUp(there))
    return wrong(
      `expected ${name} to run, as ingress-class in config-network says, got ${there ? 'no available replica of' : 'no deployment'} ${controller} in ${SERVING}`,
      there
        ? `kubectl describe deployment ${controller} -n ${SERVING} says why`
        : `install it, or set ingress-class in config-network to the ingress that you have`,
    );
  const found: Array<{ place: string; deployment: Deployment }> = [];
  for (const [namespace, gateway] of gateways) {
    const deployment = await api.find<Deployment>(`${deploymentsPath(namespace)}/${gateway}`);
    if (deployment) found.push({ place: `${gateway} -n ${namespace}`, deployment });
  }
  const down = found.find(({ deployment }) => !isUp(deployment));
  if (down)
    return wrong(
      `expected ${name}'s gateway to be available, got no replica of it`,
      `kubectl describe deployment ${down.place} says why`,
    );
  return ok(name);
}

/** Clients send passwords by https alone. */
export async function checkTls(api: KubernetesApi): Promise<Found> {
  const config = await networkConfig(api);
  const setting = config['external-domain-tls'] ?? config['auto-tls'] ?? 'disabled';
  if (/^enabled$/i.test(setting)) return ok('external domain encryption is on');
  return warning(
    'expected external-domain-tls in config-network to be enabled, got it turned off: sls sends passwords over https only',
    'turn it on: https://knative.dev/docs/serving/encryption/external-domain-tls/, or end TLS before the ingress',
  );
}

type Resolve = (name: string) => Promise<unknown>;

/** The names under which clients will look for signup and login. */
export async function checkDomain(api: KubernetesApi, resolve: Resolve = lookup): Promise<Found> {
  const domains = Object.entries((await configMap(api, 'config-domain')) ?? {}).filter(([name]) => name !== '_example');
  // One with a selector is for some Services alone.
  const domain = domains.find(([, selector]) => selector.trim() === '')?.[0];
  if (domain === undefined || domain.endsWith('.svc.cluster.local') || domain === 'svc.cluster.local')
    return warning(
      `expected a domain of yours in config-domain, got ${domain ?? 'none'}: signup and login can't be reached from outside the cluster`,
      `kubectl patch configmap config-domain -n ${SERVING} --type merge -p '{"data":{"sls.example.com":""}}'`,
    );
  const { 'domain-template': template = '{{.Name}}.{{.Namespace}}.{{.Domain}}' } = await networkConfig(api);
  const names = ['signup', 'login'].map((name) =>
    template.replaceAll('{{.Name}}', name).replaceAll('{{.Namespace}}', SERVICES).replaceAll('{{.Domain}}', domain),
  );
  if (names.some((name) => name.includes('{{')))
    return warning(
      `the domain-template ${template} is not computed here: not checked`,
      `make sure that its names lead to the ingress`,
    );
  const unknown: string[] = [];
  for (const name of names)
    await resolve(name).catch(() => {
      unknown.push(name);
    });
  if (unknown.length === 0) return ok(names.join(', '));
  return warning(
    `expected ${unknown.join(' and ')} to have an address in DNS, got none from this machine`,
    `let *.${SERVICES}.${domain} lead to the ingress`,
  );
}

async function networkConfig(api: KubernetesApi): Promise<Record<string, string>> {
  return (await configMap(api, 'config-network')) ?? {};
}

async function configMap(api: KubernetesApi, name: string): Promise<Record<string, string> | undefined> {
  return (await api.find<ConfigMap>(`/api/v1/namespaces/${SERVING}/configmaps/${name}`))?.data;
}
