import { constants } from 'node:fs';
import { open } from 'node:fs/promises';
import type { FileHandle } from 'node:fs/promises';
import { MAX_RESPONSE_BYTES } from '../../attestation/tpm/response';
import type { OpenTpm } from './connection';
import { TpmCommandError } from './errors';

/**
 * A TPM's character device: a command is one write, its response one read, which has to take the whole of it. The driver works during the write, which
 * therefore takes as long as the TPM does, in a thread of Node's pool; nothing can call it off. Of these threads there are four, which files need too: so
 * until a write has come back, there is no second one.
 */
export function deviceOpener(path: string): OpenTpm {
  let working = 0;
  return async () => {
    if (working > 0)
      throw new TpmCommandError('tpm.timeout', `expected the TPM at ${path} to have answered an earlier command`);
    working++;
    const file = await open(path, constants.O_RDWR).finally(() => working--);
    return {
      async transmit(command) {
        working++;
        try {
          return await exchange(file, path, command);
        } finally {
          working--;
        }
      },
      // Node closes a file once what is under way with it has ended, which nobody waits for.
      async close() {
        const closed = file.close();
        if (working === 0) await closed;
        else closed.catch(() => undefined);
      },
    };
  };
}

async function exchange(file: FileHandle, path: string, command: Buffer): Promise<Buffer> {
  const { bytesWritten } = await file.write(command);
  if (bytesWritten !== command.length)
    throw new TpmCommandError(
      'tpm.failed',
      `expected ${path} to take a command of ${command.length} bytes, got ${bytesWritten} of them taken`,
    );
  const { bytesRead, buffer } = await file.read(Buffer.alloc(MAX_RESPONSE_BYTES), 0, MAX_RESPONSE_BYTES, null);
  return buffer.subarray(0, bytesRead);
}
