import type { KubernetesApi } from '../../runtime/kubernetes/api';
import type { List, ObjectMeta, PersistentVolumeClaim } from '../../runtime/kubernetes/objects';
import { parseQuantity } from '../../runtime/kubernetes/quantity';
import { systemClock } from '../../runtime/clock';
import type { Clock } from '../../runtime/clock';
import type { CheckChoices } from './check-choices';
import { checkApiPort, checkClusterDns } from './check-network';
import { checkDomain, checkFeatures, checkIngress, checkKnative, checkTls } from './check-knative';
import { ok, warning, wrong } from './findings';
import type { Finding, Found } from './findings';
import { SERVICES } from './keys';

interface CheckOptions {
  /** The system's, unless told. */
  clock?: Clock;
  /** Asks DNS. */
  resolve?: (name: string) => Promise<unknown>;
}

/** The resource of the device plugin in knative/components/hardware-tpm. */
const TPM_RESOURCE = 'squat.ai/tpm';
/** More than quotes, tokens and certificates bear, whose lives are minutes. */
const MAX_SKEW_SECONDS = 30;
/** A kubelet renews its lease every ten seconds, by its node's clock. */
const LEASE_SECONDS = 40;

interface Node {
  metadata: ObjectMeta;
  spec?: { unschedulable?: boolean };
  status?: { allocatable?: Record<string, string>; conditions?: Array<{ type: string; status: string }> };
}

/**
 * Looks at what the installation needs of a cluster, and changes nothing. One finding for each thing, as they come; what can't be looked at, because the API
 * refuses it, is a warning.
 */
export async function* checkCluster(
  api: KubernetesApi,
  choices: CheckChoices,
  { clock = systemClock, resolve }: CheckOptions = {},
): AsyncGenerator<Finding> {
  const checks: Array<[about: string, check: () => Promise<Found>]> = [
    ['cluster', () => checkVersion(api)],
    ['clocks', () => checkClocks(api, clock)],
    ['Knative', () => checkKnative(api)],
    ['features', () => checkFeatures(api, choices)],
    ['ingress', () => checkIngress(api)],
    ['TLS', () => checkTls(api)],
    ['domain', () => checkDomain(api, resolve)],
    ['cluster DNS', () => checkClusterDns(api, choices)],
    ['network', () => checkApiPort(api, choices)],
    ['storage class', () => checkStorage(api, choices)],
    ['TPM nodes', () => checkNodes(api, choices)],
    ['TPM devices', () => checkDevices(api, choices)],
    ...(choices.runtimeClass === undefined
      ? []
      : [
          ['runtime class', () => checkRuntimeClass(api, choices.runtimeClass ?? '')] as [string, () => Promise<Found>],
        ]),
    ...(choices.metrics ? [['metrics', () => checkMonitors(api)] as [string, () => Promise<Found>]] : []),
  ];
  for (const [about, check] of checks) {
    const found = await check().catch((error: unknown) =>
      warning(`not checked: ${(error as Error).message}`, 'look at it yourself, or check with more rights'),
    );
    yield { about, ...found };
    // Nothing more would be found.
    if (about === 'cluster' && found.state === 'wrong') return;
  }
}

async function checkVersion(api: KubernetesApi): Promise<Found> {
  let gitVersion: string;
  try {
    ({ gitVersion = '' } = await api.get<{ gitVersion?: string }>('/version'));
  } catch (error) {
    return wrong(
      `the Kubernetes API can't be reached: ${(error as Error).message}`,
      'kubectl version takes the same kubeconfig: does it reach it?',
    );
  }
  const [, major, minor] = /^v?(\d+)\.(\d+)/.exec(gitVersion) ?? [];
  if (Number(major) !== 1 || minor === undefined)
    return warning(`a version that is not known: ${gitVersion}`, 'it has to be 1.30 or later');
  if (Number(minor) < 30) return wrong(`expected Kubernetes 1.30 or later, got ${gitVersion}`, 'update the cluster');
  if (Number(minor) < 32)
    return warning(
      `Kubernetes ${gitVersion} names nodes in service account tokens by a feature gate alone`,
      'turn on ServiceAccountTokenPodNodeInfo, or update to 1.32',
    );
  return ok(`Kubernetes ${gitVersion}`);
}

async function checkClocks(api: KubernetesApi, clock: Clock): Promise<Found> {
  const { date, body } = await api.getDated<List<{ metadata: ObjectMeta; spec?: { renewTime?: string } }>>(
    '/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases',
  );
  const server = date.getTime() / 1000;
  const here = clock.now() / 1000 - server;
  const off = body.items.flatMap(({ metadata, spec }) => {
    const renewed = Date.parse(spec?.renewTime ?? '') / 1000 - server;
    // One that was renewed long ago is of a node that is away.
    return renewed > MAX_SKEW_SECONDS || (renewed < -(LEASE_SECONDS + MAX_SKEW_SECONDS) && renewed > -3_600)
      ? [`${metadata.name} (${words(renewed)})`]
      : [];
  });
  if (off.length > 0)
    return wrong(
      `expected the nodes' clocks within ${MAX_SKEW_SECONDS} s of the API server's, got ${off.join(', ')}`,
      'start NTP there, and set the time',
    );
  if (Math.abs(here) > MAX_SKEW_SECONDS)
    return wrong(
      `expected this machine's clock within ${MAX_SKEW_SECONDS} s of the API server's, got it ${words(here)}`,
      'start NTP here, and set the time',
    );
  return ok(`this machine and ${body.items.length} nodes agree with the API server`);
}

function words(seconds: number): string {
  return `${Math.round(Math.abs(seconds))} s ${seconds > 0 ? 'ahead' : 'behind'}`;
}

interface StorageClass {
  metadata: ObjectMeta;
  provisioner?: string;
}

/** For PostgreSQL in the cluster, whose claim names no class, and for the enclaves' volumes. */
async function checkStorage(api: KubernetesApi, { postgres, volumes }: CheckChoices): Promise<Found> {
  const isBound = postgres && (await isDatabaseBound(api));
  const needsDefault = (postgres && !isBound) || (volumes && volumes.storageClass === undefined);
  const needed = volumes?.storageClass;
  if (!needsDefault && needed === undefined)
    return ok(
      isBound ? "not needed: PostgreSQL's volume is there" : 'not needed: PostgreSQL is outside of the cluster',
    );
  const { items } = await api.get<List<StorageClass>>('/apis/storage.k8s.io/v1/storageclasses');
  const names = items.map(({ metadata }) => metadata.name);
  const got = names.length === 0 ? 'no StorageClass' : `none among ${names.join(', ')}`;
  if (needed !== undefined && !names.includes(needed))
    return wrong(
      `expected the StorageClass ${needed} of ENCLAVE_STORAGE_CLASS, got ${got}`,
      'make it, or name another one',
    );
  const standard = items.find(
    ({ metadata }) => metadata.annotations?.['storageclass.kubernetes.io/is-default-class'] === 'true',
  );
  if (!needsDefault) return ok(`${needed} is there`);
  if (standard) return ok(`${standard.metadata.name} (${standard.provisioner ?? 'no provisioner'}) is the default`);
  return wrong(
    `expected a default StorageClass for ${postgres && !isBound ? "PostgreSQL's volume" : "the enclaves' volumes"}, got ${got}`,
    names[0] === undefined
      ? `install one${postgres && !isBound ? ', or take the overlay external-postgres' : ''}`
      : `kubectl annotate storageclass ${names[0]} storageclass.kubernetes.io/is-default-class=true`,
  );
}

async function isDatabaseBound(api: KubernetesApi): Promise<boolean> {
  const claim = await api.find<PersistentVolumeClaim & { status?: { phase?: string } }>(
    `/api/v1/namespaces/${SERVICES}/persistentvolumeclaims/data-postgres-0`,
  );
  return claim?.status?.phase === 'Bound';
}

async function labelled(api: KubernetesApi, nodeSelector: string): Promise<Node[]> {
  return (await api.get<List<Node>>('/api/v1/nodes', { query: { labelSelector: nodeSelector } })).items;
}

async function checkNodes(api: KubernetesApi, { nodeSelector }: CheckChoices): Promise<Found> {
  const nodes = await labelled(api, nodeSelector);
  if (nodes.length === 0)
    return wrong(`expected a node with the label ${nodeSelector}, got none`, `kubectl label node NODE ${nodeSelector}`);
  const usable = nodes.filter(
    ({ spec, status }) =>
      spec?.unschedulable !== true &&
      status?.conditions?.some(({ type, status: is }) => type === 'Ready' && is === 'True'),
  );
  const names = nodes.map(({ metadata }) => metadata.name).join(', ');
  if (usable.length === 0)
    return wrong(
      `expected one of the nodes with the label ${nodeSelector} to be ready and schedulable, got none of ${names}`,
      'kubectl get nodes',
    );
  return ok(`${usable.length} of ${nodes.length} with ${nodeSelector} ready: ${names}`);
}

async function checkDevices(api: KubernetesApi, { hardwareTpm, nodeSelector }: CheckChoices): Promise<Found> {
  if (!hardwareTpm) return ok('not needed: software TPMs');
  const nodes = await labelled(api, nodeSelector);
  const without = nodes.filter(({ status }) => !(parseQuantity(status?.allocatable?.[TPM_RESOURCE] ?? '0') >= 1));
  const names = (of: Node[]): string => of.map(({ metadata }) => metadata.name).join(', ');
  if (without.length === 0)
    return nodes.length === 0
      ? warning(`not checked: no node has the label ${nodeSelector}`, 'label one first')
      : ok(`${TPM_RESOURCE} on ${names(nodes)}`);
  return wrong(
    `expected ${TPM_RESOURCE} among what ${names(without)} can give to pods, got none`,
    'run a device plugin there that offers /dev/tpmrm0: docs/kubernetes.md, "TPM device"',
  );
}

async function checkMonitors(api: KubernetesApi): Promise<Found> {
  if (await api.find('/apis/monitoring.coreos.com/v1')) return ok('PodMonitors are known');
  return wrong(
    'expected the Prometheus Operator (monitoring.coreos.com/v1), got a cluster without it',
    'install it, or leave out --metrics',
  );
}

async function checkRuntimeClass(api: KubernetesApi, name: string): Promise<Found> {
  if (await api.find(`/apis/node.k8s.io/v1/runtimeclasses/${name}`)) return ok(name);
  return wrong(
    `expected the RuntimeClass ${name} of ENCLAVE_RUNTIME_CLASS, got none`,
    'install it on the nodes with a TPM',
  );
}
