import { join } from 'node:path';
import { ConfigError, readEnvironment } from '../runtime/config/environment';
import { readSettingFile } from '../runtime/config/listen';
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

async function openIdentifier(
  settings: AttestorSettings,
  program: Pick<Program, 'log' | 'clock'>,
): Promise<WorkloadIdentifier> {
  if (settings.IDENTITY === 'kubernetes') return kubernetesIdentity(program);
  if (settings.LAUNCHER_KEY_FILE === undefined)
    throw new ConfigError('LAUNCHER_KEY_FILE: expected for IDENTITY=process, got nothing');
  const launcherKey = (await readSettingFile('LAUNCHER_KEY_FILE', settings.LAUNCHER_KEY_FILE)).toString('utf8');
  const usedFile = join(settings.STATE_DIR, 'used-credentials');
  return ProcessIdentity.open({ ...program, launcherKey, node: settings.NODE_NAME, usedFile }).catch((cause: Error) => {
    throw new ConfigError(`LAUNCHER_KEY_FILE: expected a P-256 public key as JWK, got something else: ${cause.name}`, {
      cause,
    });
  });
}

runProgram(async (program) => {
  const settings = readEnvironment(attestorSettings);
  if (settings.LISTEN.scheme !== 'unix')
    throw new ConfigError('LISTEN: expected a unix socket, because only workloads of this node may ask');
  const metrics = await openMetrics(settings);
  const daemon = await startDaemon({
    ...program,
    listen: settings.LISTEN,
    socketMode: settings.SOCKET_MODE,
    tpm: settings.TPM,
    node: settings.NODE_NAME,
    stateDir: settings.STATE_DIR,
    enrol: { address: settings.ENROL_ADDRESS, rootsFile: settings.ENROL_ROOTS_FILE },
    identifier: await openIdentifier(settings, program),
    eventLogFile: settings.EVENT_LOG_FILE,
    akHandle: settings.AK_HANDLE,
    quoteDelayMs: settings.QUOTE_DELAY_MS,
    metrics,
  });
  void daemon.ready.then(() => writeReadyFile(settings.READY_FILE, { listen: 0 }));
  return async () => {
    await daemon.stop();
    metrics?.close();
  };
});
