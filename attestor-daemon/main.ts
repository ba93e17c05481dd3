import { join } from 'node:path';
import { ConfigError, readEnvironment, settingFileError } from '../runtime/config/environment';
import { readSettingFile, readSettingText } from '../runtime/config/listen';
import { writeReadyFile } from '../runtime/config/ready-file';
import { openMetrics } from '../runtime/metrics/open';
import { runProgram } from '../runtime/rpc/program';
import { startDaemon } from './daemon';
import type { WorkloadIdentifier } from './identity/identity';
import { kubernetesIdentity } from './identity/kubernetes';
import { ProcessIdentity, readLauncherKey } from './identity/process';
import { attestorSettings } from './settings';
import type { AttestorSettings } from './settings';
import type { Program } from '../runtime/rpc/program';
import { tpmOpener } from './tpm/open';
import { reasonForPerson, tellUnready } from './unready';

/** Opens the identity that the settings ask for. Of a process it keeps a file, so it is opened once the settings are known to be right. @throws ConfigError */
async function loadIdentity(settings: AttestorSettings, program: Program): Promise<() => Promise<WorkloadIdentifier>> {
  if (settings.IDENTITY === 'kubernetes') {
    const identity = await kubernetesIdentity(program);
    return () => Promise.resolve(identity);
  }
  const { LAUNCHER_KEY_FILE, NODE_NAME: node, STATE_DIR } = settings;
  if (LAUNCHER_KEY_FILE === undefined)
    throw new ConfigError('LAUNCHER_KEY_FILE: expected for IDENTITY=process, got nothing');
  const json = await readSettingText('LAUNCHER_KEY_FILE', LAUNCHER_KEY_FILE);
  const launcherKey = await readLauncherKey(json).catch((cause: Error) => {
    const reason = `expected a P-256 public key as JWK, got something else: ${cause.name}`;
    throw settingFileError({ LAUNCHER_KEY_FILE }, reason, cause);
  });
  return () => ProcessIdentity.open({ ...program, launcherKey, node, usedFile: join(STATE_DIR, 'used-credentials') });
}

/** As tpm2-tools take it. @throws ConfigError when the file can't be read */
async function authorization(name: string, path: string | undefined): Promise<string | undefined> {
  if (path === undefined) return undefined;
  await readSettingFile(name, path);
  return `file:${path}`;
}

async function load(program: Program) {
  const settings = readEnvironment(attestorSettings);
  if (settings.LISTEN.scheme !== 'unix')
    throw new ConfigError('LISTEN: expected a unix socket, because only workloads of this node may ask');
  if (settings.TPM_TRANSPORT === 'native' && tpmOpener(settings.TPM) === undefined)
    throw new ConfigError(
      `TPM_TRANSPORT: expected tools for a TPM at ${settings.TPM}, got native: it knows device:/PATH, swtpm:path=/SOCKET, swtpm:host=HOST,port=PORT and mssim:host=HOST,port=PORT`,
    );
  const { TPM_OWNER_AUTH_FILE, TPM_ENDORSEMENT_AUTH_FILE, ENROL_ROOTS_FILE } = settings;
  return {
    settings,
    tpmAuth: {
      owner: await authorization('TPM_OWNER_AUTH_FILE', TPM_OWNER_AUTH_FILE),
      endorsement: await authorization('TPM_ENDORSEMENT_AUTH_FILE', TPM_ENDORSEMENT_AUTH_FILE),
    },
    enrolRoots:
      ENROL_ROOTS_FILE === undefined ? undefined : await readSettingFile('ENROL_ROOTS_FILE', ENROL_ROOTS_FILE),
    openIdentity: await loadIdentity(settings, program),
  };
}

async function run(
  { settings, tpmAuth, enrolRoots, openIdentity }: Awaited<ReturnType<typeof load>>,
  program: Program,
): Promise<() => Promise<void>> {
  const metrics = await openMetrics(settings);
  let giveUp!: (reason: ConfigError) => void;
  const gaveUp = new Promise<never>((_resolve, reject) => (giveUp = reject));
  gaveUp.catch(() => undefined);
  const daemon = await startDaemon({
    ...program,
    listen: settings.LISTEN,
    socketMode: settings.SOCKET_MODE,
    tpm: settings.TPM,
    tpmAuth,
    tpmTransport: settings.TPM_TRANSPORT,
    onFailure(error) {
      const reason = reasonForPerson(error);
      if (reason === undefined) return;
      void tellUnready(settings.READY_FILE, reason);
      giveUp(new ConfigError(reason, { cause: error }));
    },
    node: settings.NODE_NAME,
    stateDir: settings.STATE_DIR,
    enrol: { address: settings.ENROL_ADDRESS, roots: enrolRoots },
    identifier: await openIdentity(),
    eventLogFile: settings.EVENT_LOG_FILE,
    akHandle: settings.AK_HANDLE,
    quoteDelayMs: settings.QUOTE_DELAY_MS,
    metrics,
  });
  if (settings.END_UNREADY) await Promise.race([daemon.ready, gaveUp]);
  void daemon.ready.then(async () => {
    await tellUnready(settings.READY_FILE, undefined);
    await writeReadyFile(settings.READY_FILE, { listen: 0 });
  });
  return async () => {
    await daemon.stop();
    metrics?.close();
  };
}

runProgram({ load, run });
