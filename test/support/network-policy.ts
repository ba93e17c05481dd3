import { BlockList, isIPv6 } from 'node:net';

/** networking.k8s.io/v1, as far as the project's policies go: what this doesn't know is an error. */
export interface NetworkPolicy {
  kind: string;
  metadata: { name: string; namespace?: string };
  spec: {
    podSelector: Selector;
    policyTypes: Array<'Ingress' | 'Egress'>;
    ingress?: Array<{ from?: Peer[]; ports?: Port[] }>;
    egress?: Array<{ to?: Peer[]; ports?: Port[] }>;
  };
}
interface Selector {
  matchLabels?: Record<string, string>;
  matchExpressions?: Array<{ key: string; operator: string; values?: string[] }>;
}
interface Peer {
  podSelector?: Selector;
  namespaceSelector?: Selector;
  ipBlock?: { cidr: string; except?: string[] };
}
interface Port {
  port?: number;
  protocol?: string;
}

/** A pod has a namespace; what is outside of the cluster, and a pod in its node's network, has an address alone. */
export interface End {
  namespace?: string;
  labels?: Record<string, string>;
  address: string;
}

/**
 * Whether Kubernetes lets a new connection through, by its own words (NetworkPolicy v1): a pod that no policy of a direction selects is open in it;
 * else one rule of them has to let it in. Both ends have to agree. Namespaces carry kubernetes.io/metadata.name and no other label.
 */
export function permits(policies: NetworkPolicy[], from: End, to: End, port: number, protocol = 'TCP'): boolean {
  const agrees = (own: End, other: End, type: 'Ingress' | 'Egress'): boolean => {
    const selecting = policies.filter(
      ({ metadata, spec }) =>
        own.namespace !== undefined &&
        metadata.namespace === own.namespace &&
        spec.policyTypes.includes(type) &&
        selects(spec.podSelector, own.labels),
    );
    if (selecting.length === 0) return true;
    return selecting.some(({ metadata, spec }) => {
      const rules =
        type === 'Ingress'
          ? (spec.ingress ?? []).map((rule) => ({ peers: rule.from, ports: rule.ports }))
          : (spec.egress ?? []).map((rule) => ({ peers: rule.to, ports: rule.ports }));
      return rules.some(
        ({ peers, ports }) =>
          (peers?.some((peer) => isPeer(peer, other, metadata.namespace)) ?? true) &&
          (ports?.some((rule) => (rule.port ?? port) === port && (rule.protocol ?? 'TCP') === protocol) ?? true),
      );
    });
  };
  return agrees(from, to, 'Egress') && agrees(to, from, 'Ingress');
}

function isPeer({ podSelector, namespaceSelector, ipBlock }: Peer, end: End, policyNamespace = ''): boolean {
  if (ipBlock) return isWithin(ipBlock.cidr, end.address) && !ipBlock.except?.some((net) => isWithin(net, end.address));
  if (end.namespace === undefined) return false;
  const isThere = namespaceSelector
    ? selects(namespaceSelector, { 'kubernetes.io/metadata.name': end.namespace })
    : end.namespace === policyNamespace;
  return isThere && (podSelector === undefined || selects(podSelector, end.labels));
}

function isWithin(cidr: string, address: string): boolean {
  const [net = '', bits] = cidr.split('/');
  if (isIPv6(net) !== isIPv6(address)) return false;
  const family = isIPv6(net) ? 'ipv6' : 'ipv4';
  const list = new BlockList();
  list.addSubnet(net, Number(bits), family);
  return list.check(address, family);
}

function selects({ matchLabels = {}, matchExpressions = [] }: Selector, labels: Record<string, string> = {}): boolean {
  const meets = ({ key, operator, values = [] }: NonNullable<Selector['matchExpressions']>[number]): boolean => {
    const value = labels[key];
    switch (operator) {
      case 'In':
        return value !== undefined && values.includes(value);
      case 'NotIn':
        return value === undefined || !values.includes(value);
      case 'Exists':
        return value !== undefined;
      default:
        throw new Error(`expected an operator that is known here, got ${operator}`);
    }
  };
  return Object.entries(matchLabels).every(([key, value]) => labels[key] === value) && matchExpressions.every(meets);
}
