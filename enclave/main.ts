import { readEnvironment } from '../runtime/config/environment';
import { writeReadyFile } from '../runtime/config/ready-file';
import { runProgram } from '../runtime/rpc/program';
import { loadClientRoots, startEnclave } from './enclave';
import { enclaveSettings } from './settings';

runProgram({
  async load(program) {
    const settings = readEnvironment(enclaveSettings);
    return { settings, roots: await loadClientRoots(settings, program) };
  },
  async run({ settings, roots }, program) {
    const onIdle = () => process.kill(process.pid, 'SIGTERM');
    const enclave = await startEnclave(settings, roots, { ...program, onIdle });
    await writeReadyFile(settings.READY_FILE, enclave.ports);
    return () => enclave.stop();
  },
});
