import { createHash } from 'node:crypto';
import { mkdir, readFile, rename, rm } from 'node:fs/promises';
import { importJWK } from 'jose';
import type { CryptoKey, JWK } from 'jose';
import { issueWorkloadCredential } from '../core/tokens/workload';
import { parseAddress } from '../core/rpc/address';
import { startServer } from '../core/rpc/server';
import { startEmbeddedPostgres } from '../core/store/embedded';
import { startChild } from './child';
import type { Child } from './child';
import { Enclaves } from './enclaves';
import { writeWhole } from './files';
import { createAdministration, createKeys, createServerCertificate, openInstallation, resetRunFolder } from './installation';
import type { Installation } from './installation';
import { endLeftovers } from './leftovers';
import { lockInstallation } from './lock';
import { choosePort } from './ports';
import { launcherService } from './service';
import { supervise } from './supervisor';
import { prepareTpm } from './tpm';
import type { TpmChoice } from './tpm';
import { writeTrustBundle } from './trust';

const HOST = '127.0.0.1';

export interface UpOptions {
  folder: string;
  tpm: TpmChoice;
  /** Holds a postgres URL; without it PostgreSQL runs inside this process. */
  databaseUrlFile?: string;
  /** An enclave without connections ends after this; 0: never. */
  idleSeconds: number;
  logLevel: string;
  /** What happens now, in the words of the person at the terminal. */
  report(line: string): void;
  /** Ends a start that is under way. */
  signal: AbortSignal;
}

export interface RunningInstallation {
  folder: string;
  trustBundleFile: string;
  services: { signup: string; login: string };
  stop(): Promise<void>;
}

/** Things to undo, last first. */
class Teardown {
  private readonly steps: Array<() => Promise<void>> = [];
  add(step: () => Promise<void>): void {
    this.steps.unshift(step);
  }
  async run(): Promise<void> {
    for (const step of this.steps.splice(0)) await step().catch(() => undefined);
  }
}

/**
 * Runs the whole service on this machine: TPM, PostgreSQL, the six programs and the users' enclaves. Everything that was started ends
 * with `stop`, with a failed start, and with this process.
 * @throws LauncherError, SwtpmError
 */
export async function startInstallation(options: UpOptions): Promise<RunningInstallation> {
  const teardown = new Teardown();
  try {
    return await start(options, teardown);
  } catch (error) {
    await teardown.run();
    throw error;
  }
}

async function start(options: UpOptions, teardown: Teardown): Promise<RunningInstallation> {
  const { report, signal, logLevel } = options;
  const installation = await openInstallation(options.folder);
  const { record, path } = installation;
  const lock = await lockInstallation(record.id, path('up.pid'));
  teardown.add(() => lock.release());
  // Of a run that was killed. None of them is anyone else's: the lock is ours.
  const mark = createHash('sha256').update(record.id).digest('hex').slice(0, 16);
  await endLeftovers(`${mark}/`);
  await resetRunFolder(installation);
  teardown.add(() => rm(path('run'), { recursive: true, force: true }));
  await mkdir(path('log'), { recursive: true, mode: 0o700 });
  report('making keys and certificates where they are missing');
  await createKeys(installation);
  await createServerCertificate(installation);
  await createAdministration(installation);
  signal.throwIfAborted();

  report(options.tpm.kind === 'software' ? 'starting the software TPM' : `using the TPM at ${options.tpm.device}`);
  const tpm = await prepareTpm(installation, options.tpm, report);
  teardown.add(() => tpm.stop());
  signal.throwIfAborted();

  report(options.databaseUrlFile === undefined ? 'starting PostgreSQL in this process' : 'using the given PostgreSQL');
  const databaseUrlFile = options.databaseUrlFile ?? (await embeddedDatabase(installation, teardown));
  signal.throwIfAborted();

  const run = async (program: string, settings: Record<string, string>, before?: () => Promise<void>): Promise<Child> => {
    report(`starting ${program}`);
    await rotateLog(path('log', `${program}.log`));
    const child = await supervise(
      program,
      async () => {
        await before?.();
        return startChild({
          program,
          settings: { LOG_LEVEL: logLevel, TRUST_DOMAIN: record.trustDomain, ...settings },
          readyFile: path('run', `${program}.ready`),
          logFile: path('log', `${program}.log`),
          signal,
        });
      },
      report,
    );
    teardown.add(() => child.stop());
    return child.current() as Child;
  };

  await run('enrol', {
    LISTEN: `unix:${path('run', 'enrol.sock')}`,
    DATABASE_URL_FILE: databaseUrlFile,
    ATTESTATION_CA_KEY_FILE: path('keys', 'attestation-ca.key'),
    ATTESTATION_CA_CERTIFICATE_FILE: path('keys', 'attestation-ca.crt'),
    EK_ROOTS_DIR: tpm.ekRootsFolder,
    SEAL_KEY_FILE: path('keys', 'seal.key'),
  });

  const attestorAddress = `unix:${path('run', 'attestor.sock')}`;
  const launcherKey = (await importJWK(JSON.parse(await readFile(path('keys', 'launcher.json'), 'utf8')) as JWK, 'ES256')) as CryptoKey;
  await rotateLog(path('log', 'enclave.log'));
  const enclaves = new Enclaves({
    mark,
    runFolder: path('run', 'enclaves'),
    workspaceFolder: path('workspaces'),
    logFile: path('log', 'enclave.log'),
    attestorAddress,
    clientCaFile: path('keys', 'client-ca.crt'),
    trustDomain: record.trustDomain,
    logLevel,
    idleSeconds: options.idleSeconds,
    issueCredential: (workload) => issueWorkloadCredential(launcherKey, workload),
    report,
  });
  // The credentials that were used up belong to the attestor that ended.
  await run(
    'attestor-daemon',
    {
      LISTEN: attestorAddress,
      SOCKET_MODE: '0600',
      TPM: tpm.tcti,
      NODE_NAME: record.node,
      STATE_DIR: path('attestor'),
      ENROL_ADDRESS: `unix:${path('run', 'enrol.sock')}`,
      IDENTITY: 'process',
      LAUNCHER_KEY_FILE: path('keys', 'launcher.pub.json'),
      ...(tpm.eventLogFile !== undefined && { EVENT_LOG_FILE: tpm.eventLogFile }),
    },
    () => enclaves.refreshCredentials(),
  );
  teardown.add(() => enclaves.stopAll());
  const launcherAddress = `unix:${path('run', 'launcher.sock')}`;
  const launcher = await startServer({ address: parseAddress(launcherAddress), services: [launcherService(enclaves, record.node)] });
  teardown.add(() => launcher.stop(0));

  const services = { signup: '', login: '' };
  const accounts = {
    DATABASE_URL_FILE: databaseUrlFile,
    TOKEN_KEYS_FILE: path('keys', 'token-keys.json'),
    TLS_KEY_FILE: path('keys', 'server.key'),
    TLS_CERTIFICATE_FILE: path('keys', 'server.crt'),
  };
  for (const name of ['signup', 'login'] as const) {
    const port = await choosePort(HOST, record.ports[name]);
    if (record.ports[name] !== undefined && record.ports[name] !== port) {
      report(`port ${record.ports[name]} of ${name} is taken: it moves to ${port}, and copies of the trust bundle have to be made again`);
    }
    record.ports[name] = port;
    services[name] = `https://localhost:${port}`;
  }
  await installation.saveRecord();
  await writeTrustBundle(installation, services);
  await run('signup', { ...accounts, LISTEN: `https://${HOST}:${record.ports.signup}` });
  await run('login', {
    ...accounts,
    LISTEN: `https://${HOST}:${record.ports.login}`,
    CLIENT_CA_KEY_FILE: path('keys', 'client-ca.key'),
    CLIENT_CA_CERTIFICATE_FILE: path('keys', 'client-ca.crt'),
    TRUST_BUNDLE_FILE: path('trust-bundle.jws'),
    REVOCATION_KEYS_FILE: path('keys', 'revocation-keys.json'),
    LAUNCHER: 'process',
    LAUNCHER_ADDRESS: launcherAddress,
  });
  await run('admin', {
    LISTEN: `unix:${path('run', 'admin.sock')}`,
    DATABASE_URL_FILE: databaseUrlFile,
    ADMIN_CA_FILE: path('keys', 'admin-ca.crt'),
    LAUNCHER: 'process',
    LAUNCHER_ADDRESS: launcherAddress,
  });

  return { folder: installation.folder, trustBundleFile: path('trust-bundle.json'), services, stop: () => teardown.run() };
}

async function embeddedDatabase({ path }: Installation, teardown: Teardown): Promise<string> {
  const database = await startEmbeddedPostgres(path('database'), path('run', 'database'));
  teardown.add(() => database.stop());
  await writeWhole(path('run', 'database-url'), database.url);
  return path('run', 'database-url');
}

/** Keeps the log of the run before this one beside the new one. */
async function rotateLog(file: string): Promise<void> {
  await rename(file, `${file}.1`).catch(() => undefined);
}
