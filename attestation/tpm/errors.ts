import { ByteReader, BytesError } from '../bytes/reader';

type TpmErrorCode =
  /** The bytes end before the structure does. */
  | 'tpm.truncated'
  /** Bytes are left after the structure. */
  | 'tpm.trailing'
  /** A value that the specification doesn't allow in this place. */
  | 'tpm.invalid'
  /** Allowed by the specification, not by this project. */
  | 'tpm.unsupported'
  /** A key that is too weak, or so large that using it costs too much. */
  | 'tpm.weak_key'
  /** TPMS_ATTEST that doesn't start with TPM_GENERATED_VALUE: the TPM didn't make it. */
  | 'tpm.magic'
  /** TPMS_ATTEST of another type than a quote. */
  | 'tpm.attest_type';

/** A TPM structure that can't be taken. `code` is stable. */
export class TpmError extends Error {
  override readonly name = 'TpmError';

  constructor(
    readonly code: TpmErrorCode,
    message: string,
    options?: ErrorOptions,
  ) {
    super(message, options);
  }
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
