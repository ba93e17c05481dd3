import type { EnclaveConnection } from '../../index';
import { CliError, EXIT } from '../exit';

/** @throws CliError 1 where the enclave is of a release that forwards nothing */
export async function requireForwarding(connection: EnclaveConnection): Promise<void> {
  if (await connection.canForward()) return;
  throw new CliError(EXIT.failure, 'the enclave forwards no ports: it runs an older release than this sls', {
    code: 'rpc.unimplemented',
    hint: 'ask your operator to update it; sls enclaves stop NAME ends the one that runs, and your next command starts the current one',
  });
}
