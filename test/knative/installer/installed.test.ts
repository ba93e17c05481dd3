import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { loadAll } from 'js-yaml';
import { checkInstallation, PROGRAMS } from '../../../knative/installer/installation';
import type { Installation } from '../../../knative/installer/installation';
import { installationFrom, manifestEnvironments, WORKLOADS } from '../../../knative/installer/installed';
import type { Found } from '../../../knative/installer/installed';
import { configMaps } from '../../../knative/installer/keys';
import { renderManifests } from '../../../knative/installer/manifests';
import { CONFIGURABLE } from '../../../knative/installer/settings';

const manifests = join(__dirname, '../../../knative');
const images = Object.fromEntries(PROGRAMS.map((name) => [name, `registry.example/${name}@sha256:${'a'.repeat(64)}`]));
const hasKubectl = spawnSync('kubectl', ['version', '--client'], { stdio: 'ignore' }).status === 0;
const KINDS: Record<string, string> = { ksvc: 'Service', daemonset: 'DaemonSet', cronjob: 'CronJob' };

interface Manifest {
  apiVersion: string;
  kind: string;
  metadata: { name: string };
  data?: Record<string, string>;
}

/** The objects that an installation leaves in a cluster, without the file that says so. */
async function leave(installation: Installation): Promise<Found> {
  const rendered = loadAll(await renderManifests(installation, { manifests })) as Manifest[];
  const objects = [...rendered, ...(configMaps(installation, '') as Manifest[])];
  const find = (kind: string, name: string): never =>
    objects.find(
      (object) =>
        object.kind === kind && object.metadata.name === name && (kind !== 'Service' || object.apiVersion !== 'v1'),
    ) as never;
  const { trustDomain, softwareTpm } = installation;
  return {
    workloads: Object.fromEntries(CONFIGURABLE.map((name) => [name, find(KINDS[WORKLOADS[name].kind]!, name)])),
    hasPostgres: find('StatefulSet', 'postgres') !== undefined,
    trustBundle: { data: { 'bundle.json': JSON.stringify({ trustDomain, policy: { softwareTpm } }) } },
    ekRoots: find('ConfigMap', 'ek-roots'),
    enclaveTemplate: find('ConfigMap', 'enclave-template'),
  };
}

(hasKubectl ? test : test.skip).each([
  { overlay: 'hardware-tpm' },
  { overlay: 'external-postgres', trustDomain: 'enclaves.example.org', nodeSelector: 'x/tpm=yes', metrics: true },
  {
    overlay: 'software-tpm',
    softwareTpm: 'allow',
    tpmFolder: '/var/tpm',
    ekRoots: { 'a.pem': 'A' },
    enclaveTemplate: 'mine: true\n',
    oidc: {
      issuer: 'https://x.example',
      clientId: 'c',
      scopes: 'openid email',
      signup: false,
      publicClientSecret: 's',
    },
    settings: {
      login: { LICENCE_REQUIRED: 'true', ENCLAVE_VOLUME_SIZE: '10Gi' },
      attestor: { AK_HANDLE: '0x81010011' },
      reaper: { ORPHAN_DAYS: '30' },
    },
  },
])('an installation that nobody wrote down is read from its objects: %j', async (draft) => {
  const installation = checkInstallation({ ...draft, images });
  const found = checkInstallation(installationFrom(await leave(installation), await manifestEnvironments(manifests)));
  const settings = Object.fromEntries(
    Object.entries(found.settings).filter(([, values]) => Object.keys(values ?? {}).length > 0),
  );
  expect({ ...found, settings }).toEqual(installation);
});
