import { join } from 'node:path';
import { loadAll } from 'js-yaml';
import { checkInstallation, PROGRAMS } from '../../../knative/installer/installation';
import type { Draft } from '../../../knative/installer/installation';
import { renderManifests } from '../../../knative/installer/manifests';
import { permits } from '../../support/network-policy';
import type { End, NetworkPolicy } from '../../support/network-policy';

const digest = `sha256:${'a'.repeat(64)}`;
const images = Object.fromEntries(PROGRAMS.map((name) => [name, `registry.example/${name}@${digest}`]));

interface Workload {
  kind: string;
  metadata: { name: string; namespace?: string };
  spec?: {
    template?: { metadata?: { labels?: Record<string, string> } };
    jobTemplate?: { spec: { template: { metadata?: { labels?: Record<string, string> } } } };
  };
}

interface Network {
  policies: NetworkPolicy[];
  /** Of each workload of the manifests, with the labels that its pods get; and what else is in a cluster. */
  ends: Record<string, End>;
}

/** What the installer would apply, and where its pods would be. */
async function network(draft: Draft = {}): Promise<Network> {
  const installation = checkInstallation({ overlay: 'hardware-tpm', images, ...draft });
  const text = await renderManifests(installation, { manifests: join(__dirname, '../../../knative') });
  const objects = (loadAll(text) as Array<Workload | NetworkPolicy>).filter(Boolean);
  const ends: Record<string, End> = { ...SURROUNDINGS };
  let host = 10;
  for (const { kind, metadata, spec } of objects as Workload[]) {
    const template = spec?.template ?? spec?.jobTemplate?.spec.template;
    if (template === undefined || !['Service', 'DaemonSet', 'StatefulSet', 'CronJob'].includes(kind)) continue;
    const knative: Record<string, string> = kind === 'Service' ? { 'serving.knative.dev/service': metadata.name } : {};
    const labels = { ...template.metadata?.labels, ...knative };
    ends[metadata.name] = { namespace: metadata.namespace, labels, address: `10.244.0.${(host += 1)}` };
  }
  return { policies: objects.filter(({ kind }) => kind === 'NetworkPolicy') as NetworkPolicy[], ends };
}

const enclave = (name: string, address: string, labels: Record<string, string> = {}): End => ({
  namespace: 'licensing-enclaves',
  labels: { 'serving.knative.dev/service': name, ...labels },
  address,
});
const SURROUNDINGS: Record<string, End> = {
  enclave: enclave('enclave-a', '10.244.1.1'),
  'another enclave': enclave('enclave-b', '10.244.1.2'),
  'a cut-off enclave': enclave('enclave-c', '10.244.1.3', { 'licensing/network': 'none' }),
  activator: { namespace: 'knative-serving', labels: { app: 'activator' }, address: '10.244.2.1' },
  kourier: { namespace: 'kourier-system', labels: {}, address: '10.244.2.2' },
  coredns: { namespace: 'kube-system', labels: { 'k8s-app': 'kube-dns' }, address: '10.244.2.3' },
  'OpenShift DNS': { namespace: 'openshift-dns', labels: {}, address: '10.244.2.4' },
  'NodeLocal DNSCache': { address: '169.254.20.10' },
  prometheus: { namespace: 'monitoring', labels: {}, address: '10.244.2.5' },
  neighbour: { namespace: 'default', labels: {}, address: '10.244.2.6' },
  'API server': { address: '192.168.1.1' },
  node: { address: '192.168.1.2' },
  'public web': { address: '93.184.216.34' },
  'public web by IPv6': { address: '2606:2800:220:1::1' },
  'PostgreSQL outside': { address: '192.168.7.7' },
  provider: { address: '203.0.113.5' },
};

type Flow = [from: string, to: string, port: number, protocol?: string];
const opens =
  ({ policies, ends }: Network) =>
  ([from, to, port, protocol]: Flow): boolean => {
    const [source, target] = [ends[from], ends[to]];
    if (!source || !target) throw new Error(`expected ends that are there, got ${from} and ${to}`);
    return permits(policies, source, target, port, protocol);
  };

const OPEN: Flow[] = [
  ...['signup', 'login', 'enrol', 'admin', 'enclave'].flatMap((name): Flow[] => [
    ['activator', name, 8013],
    ['kourier', name, 8012],
    ['activator', name, 9090],
    [name, 'coredns', 53, 'UDP'],
    [name, 'OpenShift DNS', 5353],
    [name, 'NodeLocal DNSCache', 53, 'UDP'],
  ]),
  ...['signup', 'login', 'enrol', 'admin', 'reaper'].map((name): Flow => [name, 'postgres', 5432]),
  ...['login', 'admin', 'reaper', 'attestor'].map((name): Flow => [name, 'API server', 6443]),
  ['login', 'kourier', 8081],
  ['attestor', 'kourier', 8081],
  ['attestor', 'activator', 8013],
  ['attestor', 'coredns', 53, 'UDP'],
  ['enclave', 'public web', 443],
  ['enclave', 'public web', 22],
  ['enclave', 'public web by IPv6', 443],
];

/** Of each kind of neighbour one, by a port on which it may listen. */
const CLOSED: Flow[] = [
  ...['signup', 'login', 'enrol', 'admin', 'postgres', 'attestor', 'enclave'].flatMap((name): Flow[] => [
    ['neighbour', name, 8080],
    ['neighbour', name, 8012],
    ['neighbour', name, 5432],
    ['enclave', name === 'enclave' ? 'another enclave' : name, 8012],
    ['enclave', name === 'enclave' ? 'another enclave' : name, 8080],
    ['public web', name, 8012],
    ['activator', name, 8080],
    ['prometheus', name, 9464],
  ]),
  ['neighbour', 'postgres', 5432],
  ['enclave', 'postgres', 5432],
  ['attestor', 'postgres', 5432],
  ['activator', 'postgres', 5432],
  ['postgres', 'public web', 443],
  ['postgres', 'API server', 6443],
  ...['signup', 'enrol', 'enclave'].map((name): Flow => [name, 'API server', 6443]),
  ...['signup', 'enrol'].flatMap((name): Flow[] => [
    [name, 'kourier', 8081],
    [name, 'public web', 443],
    [name, 'node', 10250],
  ]),
  ['login', 'public web', 80],
  ['login', 'enclave', 8012],
  ['attestor', 'public web', 80],
  ['enclave', 'kourier', 8081],
  ['enclave', 'activator', 8012],
  ['enclave', 'coredns', 8080],
  ['enclave', 'NodeLocal DNSCache', 80],
  ['enclave', 'neighbour', 443],
  ['enclave', 'node', 10250],
  ['a cut-off enclave', 'public web', 443],
  ['a cut-off enclave', 'public web by IPv6', 443],
  ['a cut-off enclave', 'provider', 443],
];

const describeFlow = ([from, to, port, protocol = 'TCP']: Flow): string => `${from} -> ${to}:${port}/${protocol}`;

/** Of an installation that says nothing of its network. */
let usual: Promise<Network>;
beforeAll(() => void (usual = network()));

test('what has to talk does, and nothing else: in the cluster, out of it and into it', async () => {
  const isOpen = opens(await usual);
  expect(OPEN.filter((flow) => !isOpen(flow)).map(describeFlow)).toEqual([]);
  expect(CLOSED.filter(isOpen).map(describeFlow)).toEqual([]);
});

test('a cut-off enclave still serves its user, and has its names', async () => {
  const isOpen = opens(await usual);
  expect(isOpen(['kourier', 'a cut-off enclave', 8012])).toBe(true);
  expect(isOpen(['a cut-off enclave', 'coredns', 53, 'UDP'])).toBe(true);
});

test.each([
  ['AWS, Google Cloud, OpenStack', '169.254.169.254'],
  ['AWS by IPv6', 'fd00:ec2::254'],
  ['Google Cloud by IPv6', 'fd20:ce::254'],
  ['Azure', '168.63.129.16'],
  ['Oracle', '192.0.0.192'],
  ['Alibaba', '100.100.100.200'],
  ['ECS task', '169.254.170.2'],
  ['private', '10.1.2.3'],
  ['private', '172.31.255.255'],
  ['private', '192.168.1.1'],
  ['carrier-grade NAT, which clouds use for pods', '100.64.0.1'],
  ['benchmarks, which clouds use for Services', '198.18.0.1'],
  ['loopback', '127.0.0.1'],
  ['this host', '0.0.0.0'],
  ['multicast', '224.0.0.1'],
  ['reserved, which clouds use for pods', '240.0.0.1'],
  ['broadcast', '255.255.255.255'],
  ['loopback', '::1'],
  ['link-local', 'fe80::1'],
  ['site-local', 'fec0::1'],
  ['unique local', 'fd12:3456::1'],
  ['multicast', 'ff02::1'],
  ['mapped IPv4', '::ffff:169.254.169.254'],
  ['NAT64 of a metadata address', '64:ff9b::a9fe:a9fe'],
  ['local NAT64', '64:ff9b:1::a9fe:a9fe'],
  ['6to4 of a private address', '2002:a01:203::1'],
  ['Teredo', '2001::1'],
])('an enclave does not reach a %s address, %s', async (_what, address) => {
  const { policies, ends } = await usual;
  expect([80, 443, 53, 32526].filter((port) => permits(policies, ends['enclave']!, { address }, port))).toEqual([]);
});

test('choices open their own holes: PostgreSQL outside, an OpenID provider, traces, metrics', async () => {
  const outside = opens(await network({ overlay: 'external-postgres', network: { databasePorts: [6432] } }));
  expect(
    ['signup', 'login', 'enrol', 'admin', 'reaper'].filter((name) => !outside([name, 'PostgreSQL outside', 6432])),
  ).toEqual([]);
  expect(outside(['signup', 'PostgreSQL outside', 5432])).toBe(false);
  expect(outside(['enclave', 'PostgreSQL outside', 6432])).toBe(false);

  const oidc = opens(await network({ oidc: { issuer: 'https://accounts.example:8443', clientId: 'sls' } }));
  expect(oidc(['signup', 'provider', 8443])).toBe(true);
  expect([oidc(['signup', 'provider', 443]), oidc(['enrol', 'provider', 8443])]).toEqual([false, false]);

  const endpoint = { OTEL_EXPORTER_OTLP_ENDPOINT: 'http://otel.monitoring:4318' };
  const traces = opens(await network({ settings: { login: endpoint, attestor: endpoint } }));
  expect([traces(['login', 'prometheus', 4318]), traces(['attestor', 'prometheus', 4318])]).toEqual([true, true]);
  expect(traces(['signup', 'prometheus', 4318])).toBe(false);

  // What no choice names any more has to be closed by what is applied: nothing takes objects away.
  const namesOf = ({ policies }: Network): string[] =>
    policies.map(({ metadata }) => `${metadata.namespace}/${metadata.name}`);
  expect(namesOf(await network({ settings: { login: endpoint }, metrics: true }))).toEqual(namesOf(await usual));

  const metrics = opens(await network({ metrics: true }));
  expect(
    ['signup', 'login', 'enrol', 'admin', 'attestor'].filter((name) => !metrics(['prometheus', name, 9464])),
  ).toEqual([]);
  expect([metrics(['enclave', 'login', 9464]), metrics(['prometheus', 'enclave', 9464])]).toEqual([false, false]);
});

test("a cluster's own names and addresses take the place of the usual ones", async () => {
  const changed = await network({
    network: {
      ingressNamespaces: ['knative-serving', 'edge'],
      ingressAddresses: ['192.168.1.0/24'],
      dnsNamespaces: ['dns'],
      dnsAddresses: ['10.96.0.10/32', 'fd00::a/128'],
      apiAddresses: ['192.168.1.1/32'],
      apiPorts: [16_443],
      denied: ['203.0.113.0/24', '2606:2800::/32', 'fd00::/8'],
    },
  });
  const ends = {
    ...changed.ends,
    edge: { ...SURROUNDINGS['kourier']!, namespace: 'edge' },
    cache: { address: '10.96.0.10' },
  };
  const isOpen = opens({ ...changed, ends });
  const open: Flow[] = [
    ['edge', 'signup', 8012],
    ['node', 'login', 8012],
    ['node', 'enclave', 8012],
    ['login', 'edge', 8081],
    ['attestor', 'node', 8081],
    ['enclave', 'cache', 53, 'UDP'],
    ['login', 'API server', 16_443],
    ['enclave', 'public web', 443],
  ];
  expect(open.filter((flow) => !isOpen(flow)).map(describeFlow)).toEqual([]);
  const closed: Flow[] = [
    ['kourier', 'signup', 8012],
    ['enclave', 'coredns', 53, 'UDP'],
    ['enclave', 'NodeLocal DNSCache', 53, 'UDP'],
    ['reaper', 'API server', 6443],
    ['reaper', 'node', 16_443],
    ['enclave', 'provider', 443],
    ['enclave', 'public web by IPv6', 443],
  ];
  expect(closed.filter(isOpen).map(describeFlow)).toEqual([]);
});
