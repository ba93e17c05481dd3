import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { basename, join, relative } from 'node:path';
import { Command, Option } from 'commander';
import { sha256Hex } from '../../attestation/crypto';
import { distFolder } from '../../runtime/config/dist';
import { KeyStoreError, readRequiredKey } from '../../installation/store';
import { publishTrustBundle, readPublishedTrust, TrustKeyAwayError } from '../../installation/trust';
import type { TrustBundle } from '../../attestation/trust/bundle';
import { find, kubectl, KubectlError } from '../../runtime/kubernetes/kubectl';
import { checkIssuer } from '../../runtime/oidc/issuer';
import { fingerprint } from '../../attestation/trust/public-key';
import { createKeys, SERVICES } from './keys';
import { kustomization, PROGRAMS } from './kustomization';
import type { OidcChoice, Program } from './kustomization';
import { systemClock } from '../../runtime/clock';
import { readText } from '../../runtime/text/utf8';

interface Flags {
  overlay: string;
  image: Record<string, string>;
  trustDomain: string;
  ekRoot: Record<string, string>;
  databaseUrlFile?: string;
  nodeSelector?: string;
  tpmFolder?: string;
  enclaveTemplate?: string;
  softwareTpm: 'allow' | 'refuse';
  trustBundle: string;
  trustKeyFile?: string;
  signedTrustBundle?: string;
  metrics?: boolean;
  retireImages?: boolean;
  oidcIssuer?: string;
  oidcClientId?: string;
  oidcScopes: string;
  oidcSignup: boolean;
  oidcPublicClientSecret: string;
  timeout: string;
}

const pairs = (text: string, all: Record<string, string> = {}): Record<string, string> => {
  const [key, value] = text.split(/=(.*)/s, 2);
  if (!key || !value) throw new TypeError(`expected NAME=VALUE, got ${JSON.stringify(text)}`);
  return { ...all, [key]: value };
};
const say = (text: string): void => void process.stderr.write(`install: ${text}\n`);

const program = new Command('install')
  .description('Install the services in the cluster of KUBECONFIG, or update them. Existing keys are kept.')
  .addOption(new Option('--overlay <name>', 'overlay to install, a folder in knative/overlays').makeOptionMandatory())
  .addOption(
    new Option('--image <program=reference>', `image of a program, by digest; once for each of ${PROGRAMS.join(', ')}`)
      .argParser(pairs)
      .makeOptionMandatory(),
  )
  .addOption(
    new Option('--ek-root <file>', 'CA certificates of TPM manufacturers, PEM; repeatable')
      .argParser((file: string, all: Record<string, string> = {}) => ({ ...all, [basename(file)]: file }))
      .default({}, 'none'),
  )
  .option('--trust-domain <name>', 'trust domain of this installation, a DNS-like name', 'sls.local')
  .option('--database-url-file <file>', 'file with the postgres:// URL of a database outside the cluster')
  .option('--node-selector <key=value>', 'label of the nodes that have a TPM (default: licensing/tpm=2.0)')
  .option('--tpm-folder <path>', 'folder of the swtpm sockets on the nodes, for overlay software-tpm')
  .option(
    '--enclave-template <file>',
    "template of the enclaves' Knative Service: resources, volumes, timeouts (default: knative/base/enclave.yaml)",
  )
  .option('--metrics', 'serve Prometheus metrics, and create PodMonitors for the Prometheus operator')
  .option('--oidc-issuer <url>', 'let users also log in at this OpenID provider')
  .option(
    '--oidc-client-id <id>',
    "this installation's client id at the provider: a public client with the device grant",
  )
  .option('--oidc-scopes <scopes>', 'scopes to request from the provider', 'openid')
  .option('--no-oidc-signup', 'create no account on a first login with OIDC')
  .option(
    '--oidc-public-client-secret <text>',
    'client secret that some providers require even of public clients; it is given to every user',
    '',
  )
  .addOption(
    new Option('--software-tpm <word>', 'how clients treat software TPMs')
      .choices(['allow', 'refuse'])
      .default('refuse'),
  )
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

function oidcChoice({
  oidcIssuer: issuer,
  oidcClientId: clientId,
  oidcScopes: scopes,
  oidcSignup: signup,
  oidcPublicClientSecret: publicClientSecret,
}: Flags): OidcChoice | undefined {
  if (issuer === undefined && clientId === undefined) return undefined;
  if (issuer === undefined || clientId === undefined)
    throw new TypeError('expected --oidc-issuer URL and --oidc-client-id ID together');
  return { issuer: checkIssuer(issuer), clientId, scopes, signup, publicClientSecret };
}

async function install(flags: Flags): Promise<void> {
  const images = Object.fromEntries(PROGRAMS.map((name) => [name, reference(name, flags.image[name])])) as Record<
    Program,
    string
  >;
  const oidc = oidcChoice(flags);
  const manifests = join(distFolder(), '..', 'knative');

  say('namespaces and keys');
  await kubectl(['apply', '--server-side', '--force-conflicts', '-f', join(manifests, 'base', 'namespaces.yaml')]);
  const ekRoots: Record<string, string> = {};
  for (const [name, file] of Object.entries(flags.ekRoot)) ekRoots[name] = await readText(file);
  const databaseUrl = flags.databaseUrlFile && (await readText(flags.databaseUrlFile)).trim();
  const trustKey = flags.trustKeyFile && (await readText(flags.trustKeyFile));
  const store = await createKeys({ trustDomain: flags.trustDomain, ekRoots, databaseUrl, trustKey });
  const signed = flags.signedTrustBundle && (await readText(flags.signedTrustBundle));
  const publish = (choices: Parameters<typeof publishTrustBundle>[1]): Promise<TrustBundle> =>
    publishTrustBundle(store, choices, { signed }).catch(async (error: unknown) => {
      if (error instanceof TrustKeyAwayError) await leaveToSign(error, flags.trustBundle);
      throw error;
    });

  const before = (await readPublishedTrust(store))?.bundle;
  const policyBefore = before?.policy;
  const imageDigest = images.enclave.replace(/^.*@/, '');
  // The one before stays good for a while: enclaves that run, and clients that have yet to hear of the new one, are not cut off.
  const earlierImages = flags.retireImages
    ? []
    : (policyBefore?.imageDigests ?? []).filter((digest) => digest !== imageDigest).slice(0, 1);
  const policy = { ...policyBefore, softwareTpm: flags.softwareTpm, imageDigests: [imageDigest, ...earlierImages] };
  // Known to clients and to login before the first enclave runs from it.
  if (before !== undefined) await publish({ policy });

  say(`manifests of ${flags.overlay}`);
  // Beside the overlays, because kustomize takes relative paths only.
  const folder = await mkdtemp(join(manifests, '.install-'));
  try {
    const overlay = relative(folder, join(manifests, 'overlays', flags.overlay));
    const template = flags.enclaveTemplate === undefined ? undefined : await readText(flags.enclaveTemplate);
    if (template !== undefined) await writeFile(join(folder, 'enclave.yaml'), template);
    const enclaveTemplate = template === undefined ? undefined : { sha256: sha256Hex(template) };
    const components = flags.metrics ? [relative(folder, join(manifests, 'components', 'metrics'))] : [];
    const choices = {
      overlay,
      images,
      earlierImages,
      nodeSelector: flags.nodeSelector,
      tpmFolder: flags.tpmFolder,
      enclaveTemplate,
      components,
      oidc,
    };
    await writeFile(join(folder, 'kustomization.yaml'), JSON.stringify(kustomization(choices), null, 2));
    await kubectl(['apply', '--server-side', '--force-conflicts', '-k', folder]);
  } finally {
    await rm(folder, { recursive: true });
  }

  say('trust bundle');
  const bundle = await publish({
    trustDomain: flags.trustDomain,
    services: { signup: await addressOf('signup'), login: await addressOf('login') },
    policy,
  });
  await writeFile(flags.trustBundle, `${await readRequiredKey(store, 'trust-bundle.jws')}\n`);

  say('waiting for the services');
  const timeout = `--timeout=${flags.timeout}`;
  if (await find('statefulset', SERVICES, 'postgres'))
    await kubectl(['rollout', 'status', 'statefulset/postgres', '-n', SERVICES, timeout]);
  await kubectl([
    'wait',
    '--for=condition=Ready',
    timeout,
    '-n',
    SERVICES,
    ...['signup', 'login', 'enrol', 'admin'].map((name) => `ksvc/${name}`),
  ]);
  say('waiting for the attestors');
  await kubectl(['rollout', 'status', 'daemonset/attestor', '-n', 'licensing-attestor', timeout]);
  say(`ready; trust bundle for clients: ${flags.trustBundle}`);
  say(`give its users this fingerprint over another channel: ${await fingerprint(bundle.trustKey)}`);
}

/** What has to be signed elsewhere, beside the bundle that it becomes. */
async function leaveToSign({ unsigned }: TrustKeyAwayError, trustBundle: string): Promise<void> {
  const [file, next] = [`${trustBundle}.unsigned.json`, `${trustBundle}.next`];
  await writeFile(file, unsigned);
  say(`to sign where the trust key is: sls admin trust-bundle sign ${file} --trust-key KEY --out ${next}`);
  say(`then run this again with --signed-trust-bundle ${next}`);
}

function reference(name: string, text: string | undefined): string {
  if (text !== undefined && /^[^@]+@sha256:[0-9a-f]{64}$/.test(text)) return text;
  throw new TypeError(`expected --image ${name}=REPOSITORY@sha256:HEX, got ${text ?? 'none'}`);
}

/** Knative gives a Service its address before anything runs. */
async function addressOf(name: string): Promise<string> {
  for (let attempt = 0; attempt < 120; attempt += 1) {
    const service = await find<{ status?: { url?: string } }>('ksvc', SERVICES, name);
    if (service?.status?.url !== undefined) {
      const url = new URL(service.status.url);
      return `${url.protocol}//${url.host}${url.port === '' ? (url.protocol === 'https:' ? ':443' : ':80') : ''}`;
    }
    await systemClock.sleep(500);
  }
  throw new KubectlError(`expected an address for ${name} from Knative within a minute, got none`);
}

async function main(): Promise<void> {
  program.parse();
  try {
    await install(program.opts<Flags>());
  } catch (error) {
    if (!(error instanceof KubectlError || error instanceof KeyStoreError || error instanceof TypeError)) throw error;
    say(error.message);
    if (error instanceof KeyStoreError && error.hint !== undefined) say(error.hint);
    process.exitCode = error instanceof TypeError ? 2 : 1;
  }
}

void main();
