import { resolve } from 'node:path';
import { Option } from 'commander';
import type { Command } from 'commander';
import { watchParent } from '../../../runtime/rpc/parent';
import { defaultInstallationFolder } from '../../../launcher/folder';
import { checkIssuer } from '../../../runtime/oidc/issuer';
import type { OidcChoice } from '../../../launcher/settings';
import type { TpmChoice } from '../../../launcher/tpm';
import { ISOLATIONS } from '../../../launcher/isolation/isolation';
import type { IsolationName } from '../../../launcher/isolation/isolation';
import { CliError, EXIT } from '../exit';
import { notIgnored } from '../ignored-signals';
import { openLog } from '../log';
import { addExample, addOutputOptions } from '../options';
import { Output } from '../output';
import type { OutputOptions } from '../output';
import { outputWritten } from '../standard-output';
import type { Tracer } from '../../../runtime/traces/tracer';

interface Options extends OutputOptions {
  dir?: string;
  tpm?: string;
  ekRoots?: string;
  softwareTpm?: 'allow' | 'refuse';
  isolation: IsolationName;
  databaseUrlFile?: string;
  idle: string;
  licenceRequired?: boolean;
  oidcIssuer?: string;
  oidcClientId?: string;
  oidcScopes?: string;
  oidcSignup: boolean;
  metricsPort?: string;
}

/** A TCTI as tpm2-tools take it: a name, and after a colon its configuration. */
const TCTI = /^[a-z][a-z0-9_.-]*(:.+)?$/;

/** `sls up`: the whole service on this machine, in the foreground, until Ctrl-C. */
export function addUp(program: Command, tracer: Tracer): void {
  const command = program
    .command('up')
    .description('run the service on this machine, in the foreground')
    .option('--dir <folder>', 'folder for keys, accounts and workspaces (default: ~/.local/state/sls/server)')
    .option('--tpm <tpm>', 'TCTI of the TPM to use, such as device:/dev/tpmrm0 (default: a software TPM)')
    .option('--ek-roots <folder>', "folder with the TPM manufacturer's CA certificates (PEM); required with --tpm")
    .addOption(
      new Option(
        '--software-tpm <verdict>',
        "whether clients accept a software TPM, by the trust bundle's policy (default: as before; at first allow without --tpm, refuse with it)",
      ).choices(['allow', 'refuse']),
    )
    .addOption(
      new Option('--isolation <engine>', 'walls around each enclave: bubblewrap, or none')
        .choices(ISOLATIONS)
        .default('none'),
    )
    .option('--database-url-file <file>', 'file with a postgres:// URL (default: PostgreSQL inside this process)')
    .option(
      '--idle <seconds>',
      'stop an enclave after this many seconds without a connection (0: never); workspaces are kept',
      '600',
    )
    .option('--licence-required', 'require a licence to log in; issue one with sls admin licence issue')
    .option('--oidc-issuer <url>', 'let users also log in at this OpenID provider, with sls login --oidc')
    .option('--oidc-client-id <id>', "this service's client id at the provider: a public client with the device grant")
    .option('--oidc-scopes <scopes>', 'scopes to request from the provider (default: openid)')
    .option('--no-oidc-signup', 'create no account on a first login with OIDC')
    .option(
      '--metrics-port <port>',
      'serve Prometheus metrics on 127.0.0.1: signup on this port; login, enrol, admin, attestor and launcher on the next five (default: none)',
    );
  addOutputOptions(command).action((options: Options) => run(options, tracer));
  addExample(command, 'sls up');
}

async function run(options: Options, tracer: Tracer): Promise<void> {
  const out = new Output(options);
  const { level } = openLog();
  // What is said there is this service's log: whoever read it may have ended.
  process.stderr.on('error', () => undefined);
  const tpm = chooseTpm(options);
  if (!/^\d{1,7}$/.test(options.idle))
    throw new CliError(EXIT.usage, `expected --idle SECONDS, got ${JSON.stringify(options.idle)}`);
  const metricsPort = options.metricsPort === undefined ? undefined : portOf(options.metricsPort);
  const ending = new AbortController();
  const ended = new Promise<NodeJS.Signals>((done) => {
    const end = (signal: NodeJS.Signals): void => {
      ending.abort(new CliError(EXIT.ok, `stopped by ${signal}`));
      done(signal);
    };
    for (const signal of notIgnored(['SIGINT', 'SIGTERM', 'SIGHUP'])) process.on(signal, end);
    watchParent(() => end('SIGHUP'));
  });
  // Loaded here: no other command needs the launcher and what it brings.
  const { startInstallation } = await import('../../../launcher/up');
  const installation = await startInstallation({
    folder: options.dir ?? defaultInstallationFolder(),
    tpm,
    softwareTpm: options.softwareTpm,
    isolation: options.isolation,
    databaseUrlFile: options.databaseUrlFile === undefined ? undefined : resolve(options.databaseUrlFile),
    idleSeconds: Number(options.idle),
    licenceRequired: options.licenceRequired,
    oidc: chooseOidc(options),
    tracer,
    logLevel: level ?? 'info',
    metricsPort,
    report: (line) => out.note(line),
    signal: ending.signal,
  }).catch((error: unknown) => {
    // A start that was ended on request has not failed.
    if (ending.signal.aborted) return undefined;
    throw error;
  });
  if (!installation) return;
  const { folder, trustBundleFile, services } = installation;
  out.done('ready; Ctrl-C ends everything');
  out.result({ ready: true, pid: process.pid, folder, trustBundle: trustBundleFile, services }, [
    `trust bundle  ${trustBundleFile}`,
    `signup        ${services.signup}`,
    `login         ${services.login}`,
    `logs          ${folder}/log`,
  ]);
  let lost: Error | undefined;
  try {
    await outputWritten();
    lost = await Promise.race([ended.then(() => undefined), installation.lost]);
    if (lost) out.warning(lost.message);
    out.progress('stopping');
  } finally {
    await installation.stop();
  }
  if (lost) throw lost;
  out.done('stopped');
}

function chooseOidc({ oidcIssuer, oidcClientId, oidcScopes, oidcSignup }: Options): OidcChoice | undefined {
  if (oidcIssuer === undefined && oidcClientId === undefined) return undefined;
  if (oidcIssuer === undefined || oidcClientId === undefined)
    throw new CliError(EXIT.usage, 'expected --oidc-issuer URL and --oidc-client-id ID together');
  try {
    return { issuer: checkIssuer(oidcIssuer), clientId: oidcClientId, scopes: oidcScopes, signup: oidcSignup };
  } catch (error) {
    throw new CliError(EXIT.usage, (error as Error).message, {}, { cause: error });
  }
}

/** Five more follow it. */
function portOf(text: string): number {
  if (/^\d{1,5}$/.test(text) && Number(text) >= 1 && Number(text) <= 65_530) return Number(text);
  throw new CliError(EXIT.usage, `expected --metrics-port PORT, 1 to 65530, got ${JSON.stringify(text)}`);
}

function chooseTpm({ tpm, ekRoots }: Options): TpmChoice {
  if (tpm === undefined) return { kind: 'software' };
  if (!TCTI.test(tpm))
    throw new CliError(EXIT.usage, `expected --tpm TCTI, such as device:/dev/tpmrm0, got ${JSON.stringify(tpm)}`);
  if (ekRoots === undefined)
    throw new CliError(EXIT.usage, "expected --ek-roots FOLDER with the TPM manufacturer's CA certificates");
  return { kind: 'given', tcti: absoluteTcti(tpm), ekRootsFolder: resolve(ekRoots) };
}

/** The programs run in a folder of their own. Names of devices and sockets are paths here; other TCTIs have none. */
function absoluteTcti(tcti: string): string {
  return tcti.replace(
    /^(device:|swtpm:(?:.*,)?path=)([^,]+)/,
    (_, before: string, path: string) => before + resolve(path),
  );
}
