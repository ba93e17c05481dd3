import { BlockList } from 'node:net';
import { portOf } from '../../runtime/rpc/address';
import { InstallationError } from './installation';
import type { Installation } from './installation';
import { ATTESTORS, SERVICES } from './keys';
import type { Operation, Patch } from './patch';
import { CONFIGURABLE } from './settings';

type Peer = { ipBlock: { cidr: string } } | { namespaceSelector: object };

const NAMESPACE = 'kubernetes.io/metadata.name';
const inNamespaces = (values: string[]): Peer => ({
  namespaceSelector: { matchExpressions: [{ key: NAMESPACE, operator: 'In', values }] },
});
const addresses = (cidrs: string[]): Peer[] => cidrs.map((cidr) => ({ ipBlock: { cidr } }));
const tcp = (numbers: number[]): object[] => numbers.map((port) => ({ port, protocol: 'TCP' }));
const ANYWHERE = ['0.0.0.0/0', '::/0'];

type Choices = Pick<Installation, 'network' | 'overlay' | 'oidc' | 'settings'>;

/** Over knative/base/network.yaml, by what the installation says of its network. */
export function networkPatches(installation: Choices): Patch[] {
  const { network, overlay } = installation;
  const patches = chosenPatches(installation);
  const patch = (name: string, ...operations: Operation[]): void => {
    if (operations.length > 0) patches.push({ target: { kind: 'NetworkPolicy', name }, operations });
  };
  const replace = (path: string, value: unknown): Operation[] =>
    value === undefined ? [] : [{ op: 'replace', path: `/spec/${path}`, value }];
  const add = (path: string, values: Peer[]): Operation[] =>
    values.map((value) => ({ op: 'add', path: `/spec/${path}/-`, value }));

  const { ingressNamespaces, ingressAddresses = [], dnsNamespaces, dnsAddresses } = network;
  for (const [name, peers] of [
    ['requests', 'ingress/0/from'],
    ['enclave-routes', 'egress/0/to'],
    ['enrol', 'egress/0/to'],
  ] as const)
    patch(
      name,
      ...replace(`${peers}/0`, ingressNamespaces && inNamespaces(ingressNamespaces)),
      ...add(peers, addresses(ingressAddresses)),
    );
  patch(
    'dns',
    ...replace('egress/0/to/0', dnsNamespaces && inNamespaces(dnsNamespaces)),
    ...(dnsAddresses ? [{ op: 'remove', path: '/spec/egress/0/to/1' } as const] : []),
    ...add('egress/0/to', addresses(dnsAddresses ?? [])),
  );
  patch(
    'kubernetes-api',
    ...replace('egress/0/to', network.apiAddresses && addresses(network.apiAddresses)),
    ...replace('egress/0/ports', network.apiPorts && tcp(network.apiPorts)),
  );
  if (overlay === 'external-postgres')
    patch(
      'database',
      ...replace('egress/0/to', network.databaseAddresses && addresses(network.databaseAddresses)),
      ...replace('egress/0/ports', network.databasePorts && tcp(network.databasePorts)),
    );
  patch('internet', ...(network.denied ?? []).flatMap(denial));
  return patches;
}

/** All of IPv6 that the policy `internet` opens; an exception has to be within. */
const PUBLIC_IPV6 = new BlockList();
PUBLIC_IPV6.addSubnet('2000::', 3, 'ipv6');

function denial(cidr: string): Operation[] {
  const isIpv6 = cidr.includes(':');
  // What is outside of it is closed already.
  if (isIpv6 && !PUBLIC_IPV6.check(cidr.replace(/\/.*/, ''), 'ipv6')) return [];
  return [{ op: 'add', path: `/spec/egress/0/to/${isIpv6 ? 1 : 0}/ipBlock/except/-`, value: cidr }];
}

/** Holes that only a choice opens: the OpenID provider for signup, a collector of traces for the programs that send some. */
function chosenPatches({ oidc, settings }: Pick<Installation, 'oidc' | 'settings'>): Patch[] {
  const patches: Patch[] = [];
  const open = (name: string, namespace: string, components: string[], to: number[]): void => {
    const podSelector = {
      matchExpressions: [{ key: 'app.kubernetes.io/component', operator: 'In', values: components }],
    };
    const operations: Operation[] = [
      { op: 'replace', path: '/spec/podSelector', value: podSelector },
      { op: 'add', path: '/spec/egress', value: [{ to: addresses(ANYWHERE), ports: tcp([...new Set(to)]) }] },
    ];
    patches.push({ target: { kind: 'NetworkPolicy', name, namespace }, operations });
  };
  if (oidc) open('oidc', SERVICES, ['signup'], [portOf(new URL(oidc.issuer))]);
  for (const namespace of [SERVICES, ATTESTORS]) {
    const senders = CONFIGURABLE.filter((program) => (program === 'attestor') === (namespace === ATTESTORS)).flatMap(
      (program) => {
        const endpoint = settings[program]?.['OTEL_EXPORTER_OTLP_ENDPOINT'];
        return endpoint === undefined ? [] : [{ program, port: portOf(new URL(endpoint)) }];
      },
    );
    const [programs, ports] = [senders.map(({ program }) => program), senders.map(({ port }) => port)];
    if (senders.length > 0) open('traces', namespace, programs, ports);
  }
  return patches;
}

/** A database that the NetworkPolicies would close is told before anything waits for it. @throws InstallationError */
export function requireOpenDatabase(
  { network, overlay }: Pick<Installation, 'network' | 'overlay'>,
  url: string,
): void {
  const { databasePorts = [5432] } = network;
  const port = Number((URL.canParse(url) && new URL(url).port) || 5432);
  if (overlay !== 'external-postgres' || databasePorts.includes(port)) return;
  throw new InstallationError(
    `network.databasePorts: expected ${port}, the port of the database URL, among them, got ${databasePorts.join(', ')}`,
  );
}
