import { mkdir, rm } from 'node:fs/promises';
import { importJWK } from 'jose';
import type { CryptoKey, JWK } from 'jose';
import { sha256Hex } from '../attestation/crypto';
import { openMetrics } from '../runtime/metrics/open';
import { parseAddress } from '../runtime/rpc/address';
import { startServer } from '../runtime/rpc/server';
import { startEmbeddedPostgres } from './postgres/embedded';
import { keepCertificates, renewCertificates } from './certificates';
import { Enclaves } from './enclaves';
import { executeOnlyNode } from './execute-only';
import { bubblewrapIsolation } from './isolation/bubblewrap';
import type { Isolation, IsolationName } from './isolation/isolation';
import { noIsolation } from './isolation/none';
import { writeWhole } from '../runtime/files/whole-file';
import { createAdministration, createKeys, openInstallation, prepareFolder, resetRunFolder } from './installation';
import type { Installation } from './installation';
import type { LauncherError } from './errors';
import { HeldFolder } from './held-folder';
import { endLeftovers } from './leftovers';
import { lockInstallation } from './lock';
import { Programs, rotateLog } from './programs';
import { launcherService } from './service';
import { chooseServices, HOST } from './services';
import { OWN_METRICS_PLACE, programSettings } from './settings';
import type { OidcChoice } from './settings';
import { Teardown } from './teardown';
import { prepareTpm } from './tpm';
import type { TpmChoice } from './tpm';
import { writeTrustBundle } from './trust';
import { issueWorkloadCredential } from './workload-credential';
import type { Logger } from '../runtime/log/log';
import type { Tracer } from '../runtime/traces/tracer';
import { readText } from '../runtime/text/utf8';

export interface UpOptions {
  folder: string;
  tpm: TpmChoice;
  /** What the trust bundle says of software TPMs from now on. Default: see writeTrustBundle. */
  softwareTpm?: 'allow' | 'refuse' | undefined;
  /** Walls around each enclave. */
  isolation: IsolationName;
  /** Holds a postgres URL; without it PostgreSQL runs inside this process. */
  databaseUrlFile?: string;
  /** An enclave without connections ends after this; 0: never. */
  idleSeconds: number;
  /** Of the programs that are started. */
  logLevel: string;
  /** Of this process: its log as well. */
  tracer: Tracer;
  /** Whether only users with a licence may log in. Default: false. */
  licenceRequired?: boolean | undefined;
  /** Default: no logins by OIDC. */
  oidc?: OidcChoice | undefined;
  /** Metrics of signup, login, enrol, admin, the attestor and the launcher itself, on this port and the five after it; without it there are none. */
  metricsPort?: number;
  /** What happens now, in the words of the person at the terminal. */
  report(line: string): void;
  /** Ends a start that is under way. */
  signal: AbortSignal;
}

export interface RunningInstallation {
  folder: string;
  trustBundleFile: string;
  services: { signup: string; login: string };
  /** Resolves when it can't go on, with the reason; it has to be stopped then. Never rejects. */
  lost: Promise<LauncherError>;
  stop(): Promise<void>;
}

/**
 * Runs the whole service on this machine: TPM, PostgreSQL, the six programs and the users' enclaves. Everything that was started ends
 * with `stop`, with a failed start, and with this process.
 * @throws LauncherError, SwtpmError
 */
export async function startInstallation(options: UpOptions): Promise<RunningInstallation> {
  const teardown = new Teardown(options.tracer.log);
  try {
    return await start(options, teardown);
  } catch (error) {
    await teardown.run();
    throw error;
  }
}

async function start(options: UpOptions, teardown: Teardown): Promise<RunningInstallation> {
  const { report, signal, logLevel, tracer } = options;
  const { log } = tracer;
  const folder = await prepareFolder(options.folder);
  const lock = await lockInstallation(folder);
  teardown.add(() => lock.release());
  const held = await HeldFolder.open(folder);
  const watching = new AbortController();
  teardown.add(() => held.close());
  teardown.add(() => Promise.resolve(watching.abort()));
  const { requireThere } = held;
  const installation = await openInstallation(folder);
  const { record, path } = installation;
  // Of a run that was killed. None of them is anyone else's: the lock is ours.
  const mark = sha256Hex(record.id).slice(0, 16);
  await endLeftovers(`${mark}/`);
  await resetRunFolder(installation);
  teardown.add(() => rm(path('run'), { recursive: true, force: true }));
  await mkdir(path('log'), { recursive: true, mode: 0o700 });
  const isolation = await openIsolation(installation, options);
  report('making keys and certificates where they are missing');
  await createKeys(installation);
  await createAdministration(installation);
  await renewCertificates(installation);
  signal.throwIfAborted();

  report(options.tpm.kind === 'software' ? 'starting the software TPM' : `using the TPM at ${options.tpm.tcti}`);
  const tpm = await prepareTpm(installation, options.tpm, { report, log, requireThere });
  teardown.add(() => tpm.stop());
  signal.throwIfAborted();

  report(options.databaseUrlFile === undefined ? 'starting PostgreSQL in this process' : 'using the given PostgreSQL');
  const databaseUrlFile = options.databaseUrlFile ?? (await embeddedDatabase(installation, teardown, { log, report }));
  signal.throwIfAborted();

  // Ended after what uses them and before what they use.
  const programs = new Programs(installation, { report, signal, logLevel, log, requireThere });
  teardown.add(() => programs.stop());
  const services = await chooseServices(installation, report);
  const { tpm: choice, softwareTpm } = options;
  const policy = await writeTrustBundle(installation, {
    services: services.addresses,
    tpm: choice,
    softwareTpm,
  });
  if (choice.kind === 'given' && policy.softwareTpm === 'allow')
    report('the trust bundle accepts software TPMs; --software-tpm refuse changes that');
  const renewal = keepCertificates(installation, { log, report });
  teardown.add(() => Promise.resolve(renewal.cancel()));
  const addresses = {
    enrol: `unix:${path('run', 'enrol.sock')}`,
    attestor: `unix:${path('run', 'attestor', 'attestor.sock')}`,
    launcher: `unix:${path('run', 'launcher.sock')}`,
    admin: `unix:${path('run', 'admin.sock')}`,
  };
  const enclaves = await openEnclaves(installation, mark, isolation, { ...options, requireThere });
  teardown.add(() => enclaves.stopAll());
  const metrics = await openMetrics({
    METRICS_HOST: HOST,
    METRICS_PORT: options.metricsPort && options.metricsPort + OWN_METRICS_PLACE,
  });
  teardown.add(async () => metrics?.close());
  const launcher = await startServer({
    address: parseAddress(addresses.launcher),
    services: [launcherService(enclaves, record.node)],
    observer: metrics,
    log,
    tracer,
  });
  teardown.add(() => launcher.stop(0));

  const settings = programSettings(installation, {
    addresses,
    ports: services.ports,
    tpm,
    databaseUrlFile,
    metricsPort: options.metricsPort,
    licenceRequired: options.licenceRequired,
    oidc: options.oidc,
  });
  await programs.together([
    async () => {
      await programs.start('enrol', settings.enrol);
      // The credentials that were used up belong to the attestor that ended.
      await programs.start('attestor-daemon', settings.attestor, () => enclaves.refreshCredentials());
    },
    () => programs.start('signup', settings.signup),
    () => programs.start('login', settings.login),
    () => programs.start('admin', settings.admin),
  ]);

  await requireThere();
  return {
    folder: installation.folder,
    trustBundleFile: path('trust-bundle.jws'),
    services: services.addresses,
    lost: held.moved(watching.signal).catch(() => new Promise(() => undefined)),
    stop: () => teardown.run(),
  };
}

async function embeddedDatabase(
  { path }: Installation,
  teardown: Teardown,
  options: { log: Logger; report(line: string): void },
): Promise<string> {
  const database = await startEmbeddedPostgres(path('database'), path('run', 'database'), options);
  teardown.add(() => database.stop());
  await writeWhole(path('run', 'database-url'), database.url);
  return path('run', 'database-url');
}

/** @throws LauncherError launcher.isolation */
async function openIsolation(
  { path }: Installation,
  { isolation: name, report }: Pick<UpOptions, 'isolation' | 'report'>,
): Promise<Isolation> {
  const copy = await executeOnlyNode(path('run', 'enclave-node'));
  const node = copy ?? process.execPath;
  const isolation =
    name === 'none' ? noIsolation(node) : await bubblewrapIsolation({ node, workspaceFolder: path('workspaces') });
  report(isolation.description);
  if (copy === undefined && name === 'none')
    report('commands in an enclave can read its memory here: see docs/security/services.md');
  return isolation;
}

async function openEnclaves(
  { record, path }: Installation,
  mark: string,
  isolation: Isolation,
  options: UpOptions & Pick<HeldFolder, 'requireThere'>,
): Promise<Enclaves> {
  const launcherKey = (await importJWK(
    JSON.parse(await readText(path('keys', 'launcher.json'))) as JWK,
    'ES256',
  )) as CryptoKey;
  await rotateLog(path('log', 'enclave.log'));
  return new Enclaves({
    mark,
    runFolder: path('run', 'enclaves'),
    workspaceFolder: path('workspaces'),
    logFile: path('log', 'enclave.log'),
    isolation,
    attestorFolder: path('run', 'attestor'),
    clientCaFile: path('keys', 'client-ca.crt'),
    trustDomain: record.trustDomain,
    logLevel: options.logLevel,
    idleSeconds: options.idleSeconds,
    requireThere: options.requireThere,
    issueCredential: (workload) => issueWorkloadCredential(launcherKey, workload),
    report: options.report,
    log: options.tracer.log,
  });
}
