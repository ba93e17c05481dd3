import { join } from 'node:path';
import { loadAll } from 'js-yaml';
import { find } from '../../runtime/kubernetes/kubectl';
import { readText } from '../../runtime/text/utf8';
import { readDraft, withoutUnknown } from './installation';
import type { Draft, Program } from './installation';
import { ATTESTORS, SERVICES } from './keys';
import { CONFIGURABLE, SETTINGS } from './settings';
import type { Configurable } from './settings';

interface Variable {
  name: string;
  value?: string;
}
interface PodTemplate {
  metadata?: { annotations?: Record<string, string> };
  spec: {
    containers: Array<{ image: string; env?: Variable[] }>;
    nodeSelector?: Record<string, string>;
    volumes?: Array<{ name: string; hostPath?: { path: string } }>;
  };
}
interface Workload {
  spec?: { template?: PodTemplate; jobTemplate?: { spec: { template: PodTemplate } } };
}
interface ConfigMap {
  data?: Record<string, string>;
}

/** What an installation consists of in the cluster, as far as it decides anything. */
export interface Found {
  workloads: Partial<Record<Configurable, Workload>>;
  hasPostgres: boolean;
  trustBundle: ConfigMap;
  ekRoots?: ConfigMap;
  enclaveTemplate?: ConfigMap;
}

/** Each program's object, and the manifest that it comes from. */
export const WORKLOADS: Record<Configurable, { kind: string; namespace: string; manifest: string }> = {
  signup: { kind: 'ksvc', namespace: SERVICES, manifest: 'signup.yaml' },
  login: { kind: 'ksvc', namespace: SERVICES, manifest: 'login.yaml' },
  enrol: { kind: 'ksvc', namespace: SERVICES, manifest: 'enrol.yaml' },
  admin: { kind: 'ksvc', namespace: SERVICES, manifest: 'admin.yaml' },
  attestor: { kind: 'daemonset', namespace: ATTESTORS, manifest: 'attestor.yaml' },
  reaper: { kind: 'cronjob', namespace: SERVICES, manifest: 'reaper.yaml' },
};

type Environments = Record<Configurable, Variable[]>;

const templateOf = ({ spec }: Workload): PodTemplate | undefined => spec?.template ?? spec?.jobTemplate?.spec.template;
const environmentOf = (workload: Workload | undefined): Variable[] =>
  (workload && templateOf(workload)?.spec.containers[0]?.env) ?? [];

/** The environment that the manifests give to each program. @param manifests the folder `knative` */
export async function manifestEnvironments(manifests: string): Promise<Environments> {
  const read = async (program: Configurable): Promise<Variable[]> => {
    const text = await readText(join(manifests, 'base', WORKLOADS[program].manifest));
    return environmentOf((loadAll(text) as Workload[]).find(templateOf));
  };
  return Object.fromEntries(
    await Promise.all(CONFIGURABLE.map(async (program) => [program, await read(program)])),
  ) as Environments;
}

/** What is installed, as far as this release knows it. */
export interface Installed {
  /** The file, where the cluster keeps one. */
  text?: string;
  draft: Draft;
  /** Paths of what is in the file and this release doesn't know: a newer one installed it. */
  unknown?: string[];
}

/**
 * What is installed: the file that the cluster keeps, or, in an installation of before there was one, what its objects say. Patches that
 * somebody made to a program's settings are among it.
 * @returns undefined where nothing is installed @throws KubectlError, InstallationError
 */
export async function readInstalled(manifests: string): Promise<Installed | undefined> {
  const kept = (await find<ConfigMap>('configmap', SERVICES, 'installation'))?.data?.['installation.yaml'];
  if (kept !== undefined) return { text: kept, ...withoutUnknown(readDraft(kept, 'installation.yaml of the cluster')) };
  const trustBundle = await find<ConfigMap>('configmap', SERVICES, 'trust-bundle');
  if (trustBundle === undefined) return undefined;
  const workloads: Found['workloads'] = {};
  for (const program of CONFIGURABLE) {
    const { kind, namespace } = WORKLOADS[program];
    workloads[program] = await find<Workload>(kind, namespace, program);
  }
  const found = {
    workloads,
    trustBundle,
    hasPostgres: (await find('statefulset', SERVICES, 'postgres')) !== undefined,
    ekRoots: await find<ConfigMap>('configmap', SERVICES, 'ek-roots'),
    enclaveTemplate: await find<ConfigMap>('configmap', SERVICES, 'enclave-template'),
  };
  return { draft: installationFrom(found, await manifestEnvironments(manifests)) };
}

/** The installation that these objects come from. */
export function installationFrom(found: Found, manifests: Environments): Draft {
  const { workloads, trustBundle } = found;
  const { trustDomain, policy } = JSON.parse(trustBundle.data?.['bundle.json'] ?? '{}') as {
    trustDomain?: string;
    policy?: { softwareTpm?: string };
  };
  const attestor = workloads.attestor && templateOf(workloads.attestor)?.spec;
  const tpmFolder = attestor?.volumes?.find(({ name }) => name === 'tpm')?.hostPath?.path;
  const [selector] = Object.entries(attestor?.nodeSelector ?? {});
  const login = workloads.login && templateOf(workloads.login);
  return {
    trustDomain,
    softwareTpm: policy?.softwareTpm,
    overlay: tpmFolder !== undefined ? 'software-tpm' : found.hasPostgres ? 'hardware-tpm' : 'external-postgres',
    tpmFolder,
    nodeSelector: selector && `${selector[0]}=${selector[1]}`,
    images: imagesOf(workloads),
    ekRoots: found.ekRoots?.data ?? {},
    metrics: environmentOf(workloads.login).some(({ name }) => name === 'METRICS_PORT'),
    oidc: oidcOf(environmentOf(workloads.signup)),
    // Only a template of somebody's own marks login by it.
    enclaveTemplate:
      login?.metadata?.annotations?.['licensing/enclave-template'] && found.enclaveTemplate?.data?.['enclave.yaml'],
    settings: Object.fromEntries(
      CONFIGURABLE.map((program) => [program, changed(program, environmentOf(workloads[program]), manifests[program])]),
    ),
  };
}

function imagesOf(workloads: Found['workloads']): Partial<Record<Program, string>> {
  const imageOf = (program: Configurable): string | undefined =>
    workloads[program] && templateOf(workloads[program])?.spec.containers[0]?.image;
  return {
    signup: imageOf('signup'),
    login: imageOf('login'),
    enrol: imageOf('enrol'),
    admin: imageOf('admin'),
    'attestor-daemon': imageOf('attestor'),
    enclave: environmentOf(workloads.login).find(({ name }) => name === 'ENCLAVE_IMAGE')?.value,
  };
}

function oidcOf(signup: Variable[]): Draft | undefined {
  const valueOf = (wanted: string): string => signup.find(({ name }) => name === wanted)?.value ?? '';
  if (valueOf('OIDC_ISSUER') === '') return undefined;
  return {
    issuer: valueOf('OIDC_ISSUER'),
    clientId: valueOf('OIDC_CLIENT_ID'),
    scopes: valueOf('OIDC_SCOPES'),
    signup: valueOf('OIDC_SIGNUP') !== 'false',
    publicClientSecret: valueOf('OIDC_PUBLIC_CLIENT_SECRET'),
  };
}

function changed(program: Configurable, live: Variable[], manifest: Variable[]): Draft {
  const differs = ({ name, value }: Variable): boolean =>
    value !== undefined &&
    name in SETTINGS[program] &&
    manifest.find((variable) => variable.name === name)?.value !== value;
  return Object.fromEntries(live.filter(differs).map(({ name, value }) => [name, value]));
}
