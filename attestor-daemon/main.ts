import { join } from 'node:path';
import { ConfigError, readEnvironment } from '../runtime/config/environment';
import { readSettingFile, readSettingText } from '../runtime/config/listen';
import { writeReadyFile } from '../runtime/config/ready-file';
import { openMetrics } from '../runtime/metrics/open';
import { runProgram } from '../runtime/rpc/program';
import { startDaemon } from './daemon';
import type { WorkloadIdentifier } from './identity/identity';
import { kubernetesIdentity } from './identity/kubernetes';
import { ProcessIdentity } from './identity/process';
import { attestorSettings } from './settings';
import type { AttestorSettings } from './settings';
import type { Program } from '../runtime/rpc/program';
import { reasonForPerson, tellUnready } from './unready';

async function openIdentifier(
  settings: AttestorSettings,
  program: Pick<Program, 'log' | 'clock'>,
): Promise<WorkloadIdentifier> {
  if (settings.IDENTITY === 'kubernetes') return kubernetesIdentity(program);
  if (settings.LAUNCHER_KEY_FILE === undefined)
    throw new ConfigError('LAUNCHER_KEY_FILE: expected for IDENTITY=process, got nothing');
  const launcherKey = await readSettingText('LAUNCHER_KEY_FILE', settings.LAUNCHER_KEY_FILE);
  const usedFile = join(settings.STATE_DIR, 'used-credentials');
  return ProcessIdentity.open({ ...program, launcherKey, node: settings.NODE_NAME, usedFile }).catch((cause: Error) => {
    throw new ConfigError(`LAUNCHER_KEY_FILE: expected a P-256 public key as JWK, got something else: ${cause.name}`, {
      cause,
    });
  });
}

/** As tpm2-tools take it. @throws ConfigError when the file can't be read */
async function authorization(name: string, path: string | undefined): Promise<string | undefined> {
  if (path === undefined) return undefined;
  await readSettingFile(name, path);
  return `file:${path}`;
}

runProgram(async (program) => {
  const settings = readEnvironment(attestorSettings);
  if (settings.LISTEN.scheme !== 'unix')
    throw new ConfigError('LISTEN: expected a unix socket, because only workloads of this node may ask');
  const tpmAuth = {
    owner: await authorization('TPM_OWNER_AUTH_FILE', settings.TPM_OWNER_AUTH_FILE),
    endorsement: await authorization('TPM_ENDORSEMENT_AUTH_FILE', settings.TPM_ENDORSEMENT_AUTH_FILE),
  };
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
    onFailure(error) {
      const reason = reasonForPerson(error);
      if (reason === undefined) return;
      void tellUnready(settings.READY_FILE, reason);
      giveUp(new ConfigError(reason, { cause: error }));
    },
    node: settings.NODE_NAME,
    stateDir: settings.STATE_DIR,
    enrol: { address: settings.ENROL_ADDRESS, rootsFile: settings.ENROL_ROOTS_FILE },
    identifier: await openIdentifier(settings, program),
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
});
