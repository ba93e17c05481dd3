import { TpmError } from '../../attestation/tpm/errors';
import { parseTpmAddress } from './address';
import { deviceOpener } from './device';
import type { OpenTpm } from './connection';
import { TpmCommandError } from './errors';
import { noRights, unavailable } from './explain';
import { connectMssim, connectSwtpm } from './socket';

/** @returns how a TCTI's TPM is opened, or undefined for a TCTI that isn't spoken here. What opening throws is a TpmCommandError. */
export function tpmOpener(tcti: string): OpenTpm | undefined {
  const address = parseTpmAddress(tcti);
  if (address === undefined) return undefined;
  const open =
    address.kind === 'device'
      ? deviceOpener(address.path)
      : address.kind === 'swtpm'
        ? () => connectSwtpm(address)
        : () => connectMssim(address);
  const told = explained(tcti);
  return async () => {
    const connection = await open().catch(told);
    return {
      transmit: (command) => connection.transmit(command).catch(told),
      close: () => connection.close(),
    };
  };
}

/** What the operating system says, or a response that is none, in the words that tpm2-tools' errors get. */
function explained(tcti: string): (error: unknown) => never {
  return (error) => {
    const { code, message } = error as NodeJS.ErrnoException;
    if (error instanceof TpmError) throw new TpmCommandError('tpm.failed', message, undefined, { cause: error });
    if (error instanceof TpmCommandError || code === undefined) throw error;
    if (code === 'EACCES' || code === 'EPERM') throw noRights(tcti, { cause: error });
    // The driver's own limit for a command.
    if (code === 'ETIME')
      throw new TpmCommandError('tpm.timeout', `expected the TPM at ${tcti} to answer, got ${message}`, undefined, {
        cause: error,
      });
    if (code === 'EBUSY')
      throw new TpmCommandError(
        'tpm.unavailable',
        `another program has the TPM at ${tcti} open: use the kernel's resource manager, device:/dev/tpmrm0`,
        undefined,
        { cause: error },
      );
    throw unavailable(tcti, { cause: error });
  };
}
