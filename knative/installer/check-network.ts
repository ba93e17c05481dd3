import type { KubernetesApi } from '../../runtime/kubernetes/api';
import type { List, ObjectMeta } from '../../runtime/kubernetes/objects';
import type { CheckChoices } from './check-choices';
import { ok, warning, wrong } from './findings';
import type { Found } from './findings';

type Choices = Pick<CheckChoices, 'network'>;

interface EndpointSlice {
  metadata: ObjectMeta;
  endpoints?: Array<{ conditions?: { ready?: boolean } }>;
  ports?: Array<{ port?: number }>;
}

/** Of kubeadm, of managed clusters and of OpenShift: what knative/base/network.yaml has. */
const API_PORTS = [443, 6443];

const slicesOf = async (api: KubernetesApi, namespace: string, service: string): Promise<EndpointSlice[]> =>
  (
    await api.get<List<EndpointSlice>>(`/apis/discovery.k8s.io/v1/namespaces/${namespace}/endpointslices`, {
      query: { labelSelector: `kubernetes.io/service-name=${service}` },
    })
  ).items;

/** The attestors find enrol by it, and the NetworkPolicies let through to where it is. */
export async function checkClusterDns(api: KubernetesApi, { network }: Choices): Promise<Found> {
  const { dnsNamespaces = ['kube-system', 'openshift-dns'], dnsAddresses = [] } = network;
  const places = [
    ['kube-system', 'kube-dns'],
    ['openshift-dns', 'dns-default'],
  ] as const;
  for (const [namespace, name] of places) {
    const slices = await slicesOf(api, namespace, name);
    if (slices.length === 0) continue;
    const ready = slices
      .flatMap(({ endpoints = [] }) => endpoints)
      .filter(({ conditions }) => conditions?.ready !== false);
    if (ready.length === 0)
      return wrong(`expected ${name} to have a ready endpoint, got none`, `kubectl get pods -n ${namespace}`);
    if (!dnsNamespaces.includes(namespace))
      return wrong(
        `expected ${namespace} among network.dnsNamespaces, because ${name} is there, got ${dnsNamespaces.join(', ')}`,
        'the NetworkPolicies would close DNS: add it to installation.yaml',
      );
    const cached = await cachedAt(api, name);
    if (cached !== undefined && !dnsAddresses.includes(`${cached}/32`) && !dnsAddresses.includes(`${cached}/128`))
      return warning(
        `NodeLocal DNSCache may answer at ${cached}, the address of ${name}, which network.dnsAddresses lacks`,
        `where kube-proxy uses iptables it does: dnsAddresses: [169.254.20.10/32, ${cached}/${cached.includes(':') ? 128 : 32}] in installation.yaml`,
      );
    return ok(`${name}, ${ready.length} ready`);
  }
  return warning(
    'expected the Service kube-dns in kube-system, got none',
    'say in installation.yaml where your DNS is (network.dnsNamespaces, network.dnsAddresses): the NetworkPolicies close it otherwise',
  );
}

/** The address of the cluster's DNS, where a cache on each node may have taken it over: then it is no Service's to a policy. */
async function cachedAt(api: KubernetesApi, service: string): Promise<string | undefined> {
  if ((await api.find('/apis/apps/v1/namespaces/kube-system/daemonsets/node-local-dns')) === undefined)
    return undefined;
  const path = `/api/v1/namespaces/kube-system/services/${service}`;
  return (await api.find<{ spec?: { clusterIP?: string } }>(path))?.spec?.clusterIP;
}

/** What the NetworkPolicies leave open of the API server is where it listens. */
export async function checkApiPort(api: KubernetesApi, { network }: Choices): Promise<Found> {
  const open = network.apiPorts ?? API_PORTS;
  const used = (await slicesOf(api, 'default', 'kubernetes')).flatMap(({ ports = [] }) =>
    ports.map(({ port }) => port),
  );
  const closed = [...new Set(used)].filter((port) => port !== undefined && !open.includes(port));
  if (closed.length === 0) return ok(`the API server's port is open to those that ask it`);
  return wrong(
    `expected the API server's port ${closed.join(', ')} among network.apiPorts, got ${open.join(', ')}`,
    `apiPorts: [${[...open, ...closed].join(', ')}] in installation.yaml, or the NetworkPolicies close it`,
  );
}
