import { readEnvironment } from '../core/config/environment';
import { writeReadyFile } from '../core/config/ready-file';
import { runProgram } from '../core/rpc/program';
import { startEnclave } from './enclave';
import { enclaveSettings } from './settings';

runProgram(async () => {
  const settings = readEnvironment(enclaveSettings);
  const enclave = await startEnclave(settings, () => process.kill(process.pid, 'SIGTERM'));
  await writeReadyFile(settings.READY_FILE, enclave.ports);
  return () => enclave.stop();
});
