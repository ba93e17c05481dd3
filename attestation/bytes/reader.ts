import { CodedError } from '../../errors/coded-error';
import type { BytesCode } from '../../errors/verifier';

/** Malformed binary input. `code` is stable. */
export class BytesError extends CodedError<BytesCode> {
  override readonly name = 'BytesError';
}

/** Reads big-endian integers and byte strings, never past the end. Slices share memory with the input. */
export class ByteReader {
  private position = 0;

  constructor(
    private readonly bytes: Uint8Array,
    private readonly what: string,
  ) {}

  get remaining(): number {
    return this.bytes.length - this.position;
  }

  take(length: number): Buffer {
    if (length > this.remaining) {
      throw new BytesError(
        'bytes.truncated',
        `${this.what}: expected ${length} bytes at offset ${this.position}, got ${this.remaining}`,
      );
    }
    const slice = Buffer.from(this.bytes.buffer, this.bytes.byteOffset + this.position, length);
    this.position += length;
    return slice;
  }

  /** The next byte, which stays to be read; undefined at the end. */
  peek(): number | undefined {
    return this.bytes[this.position];
  }

  u8(): number {
    return this.take(1).readUInt8();
  }

  u16(): number {
    return this.take(2).readUInt16BE();
  }

  u32(): number {
    return this.take(4).readUInt32BE();
  }

  u64(): bigint {
    return this.take(8).readBigUInt64BE();
  }

  /** A TPM2B: 16-bit size, then that many bytes. */
  sized(): Buffer {
    return this.take(this.u16());
  }

  /** @throws BytesError unless every byte was read. */
  end(): void {
    if (this.remaining !== 0) {
      throw new BytesError(
        'bytes.trailing',
        `${this.what}: expected its end at offset ${this.position}, got ${this.remaining} more bytes`,
      );
    }
  }
}
