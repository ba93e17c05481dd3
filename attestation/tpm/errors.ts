import { ByteReader, BytesError } from '../bytes/reader';
import { CodedError } from '../../errors/coded-error';
import type { TpmStructureCode } from '../../errors/verifier';

/** A TPM structure that can't be taken. `code` is stable. */
export class TpmError extends CodedError<TpmStructureCode> {
  override readonly name = 'TpmError';
}

/**
 * Parses all of `bytes` by `parse`: what is left over is an error too.
 * @throws TpmError and nothing else.
 */
export function parseWhole<T>(bytes: Uint8Array, what: string, parse: (reader: ByteReader) => T): T {
  const reader = new ByteReader(bytes, what);
  try {
    const value = parse(reader);
    reader.end();
    return value;
  } catch (error) {
    if (error instanceof BytesError) {
      throw new TpmError(error.code === 'bytes.trailing' ? 'tpm.trailing' : 'tpm.truncated', error.message, {
        cause: error,
      });
    }
    throw error;
  }
}
