import { InvalidArgumentError, Option } from 'commander';
import type { Command } from 'commander';
import { DEFAULT_ENCLAVE, isEnclaveName } from '../../attestation/evidence/enclave-name';

let chosen = DEFAULT_ENCLAVE;

/** Name of the enclave that this command is about. */
export const chosenEnclave = (): string => chosen;

/** --enclave: each of a user's enclaves has a login of its own on this machine, with keys of its own. */
export function addEnclaveOption(command: Command): Command {
  const option = new Option('--enclave <name>', 'name of your enclave (default: default)')
    .env('SLS_ENCLAVE')
    .argParser(parseEnclaveName);
  return command.addOption(option).hook('preAction', (_, action) => {
    chosen = action.opts<{ enclave?: string }>().enclave ?? DEFAULT_ENCLAVE;
  });
}

export function parseEnclaveName(text: string): string {
  if (isEnclaveName(text)) return text;
  throw new InvalidArgumentError('expected letters a to z, digits and hyphens, 63 at most, no hyphen at either end.');
}
