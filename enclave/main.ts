import { readEnvironment } from '../runtime/config/environment';
import { writeReadyFile } from '../runtime/config/ready-file';
import { runProgram } from '../runtime/rpc/program';
import { startEnclave } from './enclave';
import { enclaveSettings } from './settings';

runProgram(async (program) => {
  const settings = readEnvironment(enclaveSettings);
  const enclave = await startEnclave(settings, { ...program, onIdle: () => process.kill(process.pid, 'SIGTERM') });
  await writeReadyFile(settings.READY_FILE, enclave.ports);
  return () => enclave.stop();
});
