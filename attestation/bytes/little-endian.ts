import { ByteReader } from './reader';

/** As ByteReader, with integers little-endian: what UEFI firmware writes. */
export class LittleEndianReader extends ByteReader {
  override u16(): number {
    return this.take(2).readUInt16LE();
  }

  override u32(): number {
    return this.take(4).readUInt32LE();
  }

  override u64(): bigint {
    return this.take(8).readBigUInt64LE();
  }
}
