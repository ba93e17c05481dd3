import { basename } from 'node:path';
import { Command, Option } from 'commander';
import { readGiven } from './given-file';
import { CONFIGURABLE } from './settings';
import { PROGRAMS } from './installation';
import type { Draft } from './installation';
import { DANGERS } from './refusals';
import type { Danger } from './refusals';

/** What a run does, beside what it changes of the installation. */
export interface Run {
  file?: string;
  check?: boolean;
  plan?: boolean;
  print?: boolean;
  show?: boolean;
  schema?: boolean;
  json?: boolean;
  accept: Danger[];
  databaseUrlFile?: string;
  trustBundle: string;
  trustKeyFile?: string;
  signedTrustBundle?: string;
  retireImages?: boolean;
  timeout: string;
}

interface Flags extends Run {
  overlay?: string;
  image?: Record<string, string>;
  trustDomain?: string;
  ekRoot?: Record<string, string>;
  nodeSelector?: string;
  tpmFolder?: string | false;
  enclaveTemplate?: string;
  softwareTpm?: 'allow' | 'refuse';
  metrics?: boolean;
  oidc?: boolean;
  oidcIssuer?: string;
  oidcClientId?: string;
  oidcScopes?: string;
  oidcSignup?: boolean;
  oidcPublicClientSecret?: string;
  set?: Record<string, string>;
  unset?: string[];
}

const pairs = (text: string, all: Record<string, string> = {}): Record<string, string> => {
  const [key, value] = text.split(/=(.*)/s, 2);
  if (!key || value === undefined || value === '')
    throw new TypeError(`expected NAME=VALUE, got ${JSON.stringify(text)}`);
  return { ...all, [key]: value };
};
const repeated = (text: string, all: unknown): string[] => [...((all as string[] | undefined) ?? []), text];
const isDanger = (text: string): text is Danger => text in DANGERS;

/** The command line of `install:cluster`. A flag that isn't given leaves its setting as it is. */
export function installCommand(): Command {
  return new Command('install')
    .description(
      'Install the services in the cluster of KUBECONFIG, or update them. What is installed stands in one file, installation.yaml, ' +
        'which the cluster keeps: flags change it, and what no flag names stays. Existing keys are kept.',
    )
    .option('--file <file>', 'installation.yaml to install, in place of the one that the cluster keeps')
    .option(
      '--check',
      'look at what this installation needs of the cluster, one line for each thing: what is wrong, and what to do; change nothing',
    )
    .option('--plan', 'print what would change, object by object, and what would be refused; change nothing')
    .option('--print', 'print the objects as YAML, for kubectl or GitOps; needs no cluster beside --file')
    .option('--show', 'print the installation.yaml that the cluster keeps')
    .option('--schema', 'print the JSON Schema of installation.yaml, for an editor')
    .option('--json', 'print the plan for machines')
    .addOption(
      new Option('--accept <change>', `make a change that is refused otherwise; repeatable`)
        .choices(Object.keys(DANGERS))
        .argParser((text: string, all: Danger[]) => {
          if (!isDanger(text))
            throw new TypeError(`expected --accept ${Object.keys(DANGERS).join(' or ')}, got ${text}`);
          return [...all, text];
        })
        .default([], 'none'),
    )
    .option('--overlay <name>', 'overlay to install, a folder in knative/overlays')
    .addOption(
      new Option('--image <program=reference>', `image of a program, by digest: ${PROGRAMS.join(', ')}`).argParser(
        pairs,
      ),
    )
    .addOption(
      new Option('--ek-root <file>', 'CA certificates of TPM manufacturers to add, PEM; repeatable').argParser(
        (file: string, all: Record<string, string> = {}) => ({ ...all, [basename(file)]: file }),
      ),
    )
    .option('--trust-domain <name>', 'trust domain of this installation, a DNS-like name (sls.local)')
    .option('--database-url-file <file>', 'file with the postgres:// URL of a database outside the cluster')
    .option('--node-selector <key=value>', 'label of the nodes that have a TPM (licensing/tpm=2.0)')
    .option('--tpm-folder <path>', 'folder of the swtpm sockets on the nodes, for overlay software-tpm')
    .option('--no-tpm-folder', 'no such folder: the nodes have TPMs of their own')
    .option(
      '--enclave-template <file>',
      "template of the enclaves' Knative Service: resources, volumes, timeouts (knative/base/enclave.yaml)",
    )
    .option('--metrics', 'serve Prometheus metrics, and create PodMonitors for the Prometheus operator')
    .option('--no-metrics', 'serve no metrics')
    .option('--oidc-issuer <url>', 'let users also log in at this OpenID provider')
    .option(
      '--oidc-client-id <id>',
      "this installation's client id at the provider: a public client with the device grant",
    )
    .option('--oidc-scopes <scopes>', 'scopes to request from the provider (openid)')
    .option('--oidc-signup', 'create an account on a first login with OIDC')
    .option('--no-oidc-signup', 'create no account on a first login with OIDC')
    .option(
      '--oidc-public-client-secret <text>',
      'client secret that some providers require even of public clients; it is given to every user',
    )
    .option('--oidc', 'keep the OpenID provider')
    .option('--no-oidc', 'let users log in by no OpenID provider')
    .addOption(
      new Option('--set <program.name=value>', `a setting of ${CONFIGURABLE.join(', ')}; repeatable`).argParser(pairs),
    )
    .addOption(
      new Option('--unset <program.name>', 'take a setting back to what the manifests say; repeatable').argParser(
        repeated,
      ),
    )
    .addOption(new Option('--software-tpm <word>', 'how clients treat software TPMs').choices(['allow', 'refuse']))
    .option('--trust-bundle <file>', 'file to write the signed trust bundle to, for clients', 'sls-trust.jws')
    .option(
      '--trust-key-file <file>',
      "the installation's trust key, where it isn't kept in the cluster; used to sign, and not stored",
    )
    .option(
      '--signed-trust-bundle <file>',
      'the next trust bundle, signed where the trust key is (sls admin trust-bundle sign)',
    )
    .option('--retire-images', 'refuse the previous enclave image from now on')
    .option('--timeout <duration>', 'how long to wait for each part to become ready', '180s');
}

/** What the flags change of the installation. @throws TypeError for a flag that is malformed */
export async function changesOf(command: Command): Promise<Draft> {
  const flags = command.opts<Flags>();
  const ekRoots: Draft = {};
  for (const [name, file] of Object.entries(flags.ekRoot ?? {})) ekRoots[name] = await readGiven('ek-root', file);
  const settings: Draft = {};
  for (const [name, value] of [
    ...(flags.unset ?? []).map((name) => [name, null] as const),
    ...Object.entries(flags.set ?? {}),
  ]) {
    const [program = '', setting, ...rest] = name.split('.');
    if (!setting || rest.length > 0) throw new TypeError(`expected PROGRAM.NAME, got ${JSON.stringify(name)}`);
    settings[program] = { ...(settings[program] as Draft | undefined), [setting]: value };
  }
  return given({
    overlay: flags.overlay,
    trustDomain: flags.trustDomain,
    images: flags.image,
    softwareTpm: flags.softwareTpm,
    nodeSelector: flags.nodeSelector,
    tpmFolder: flags.tpmFolder === false ? null : flags.tpmFolder,
    ekRoots: Object.keys(ekRoots).length > 0 ? ekRoots : undefined,
    metrics: flags.metrics,
    oidc: flags.oidc === false ? null : oidcChanges(flags),
    enclaveTemplate:
      flags.enclaveTemplate === undefined ? undefined : await readGiven('enclave-template', flags.enclaveTemplate),
    settings: Object.keys(settings).length > 0 ? settings : undefined,
  });
}

function oidcChanges(flags: Flags): Draft | undefined {
  const changes = given({
    issuer: flags.oidcIssuer,
    clientId: flags.oidcClientId,
    scopes: flags.oidcScopes,
    signup: flags.oidcSignup,
    publicClientSecret: flags.oidcPublicClientSecret,
  });
  return Object.keys(changes).length > 0 ? changes : undefined;
}

const given = (draft: Draft): Draft =>
  Object.fromEntries(Object.entries(draft).filter(([, value]) => value !== undefined));
