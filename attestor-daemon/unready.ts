import { rm, writeFile } from 'node:fs/promises';
import { RpcError } from '../runtime/rpc/errors';
import { TpmCommandError } from './tpm/errors';

/**
 * Why no evidence can be made, in one sentence, where a person may have to change something: a setting, a right, the TPM, the list of endorsement
 * keys. Undefined of services that are away.
 */
export function reasonForPerson(error: unknown): string | undefined {
  if (error instanceof TpmCommandError) return error.message;
  // Enrol's verdict on this TPM, not a service that is away.
  if (error instanceof RpcError && /^enrol\.(ek_|node_)/.test(error.code))
    return `enrolment refused this TPM: ${error.message}`;
  return undefined;
}

/** Beside the ready file, for a readiness probe to show: why it isn't ready. Gone while it is. */
export async function tellUnready(readyFile: string | undefined, reason: string | undefined): Promise<void> {
  if (readyFile === undefined) return;
  const path = `${readyFile}.reason`;
  await (reason === undefined ? rm(path, { force: true }) : writeFile(path, `${reason}\n`)).catch(() => undefined);
}
