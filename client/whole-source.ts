import type { FileHandle } from 'node:fs/promises';
import { Readable } from 'node:stream';

/** Bytes that are read at a time. */
const PIECE_BYTES = 256 * 1024;

/**
 * What there is to read of a file, whatever size it says: one that grows is read to the end that it has then, and those in /proc say that they are empty.
 * @param size as it was when it was opened
 * @returns fails with an Error where the file has become shorter meanwhile, and lost its end
 */
export function wholeSource(file: FileHandle, size: number): Readable {
  return Readable.from(pieces(file, size), { objectMode: false, highWaterMark: PIECE_BYTES });
}

async function* pieces(file: FileHandle, size: number): AsyncGenerator<Buffer> {
  let read = 0;
  for (;;) {
    const { bytesRead, buffer } = await file.read(Buffer.allocUnsafeSlow(PIECE_BYTES), 0, PIECE_BYTES, read);
    if (bytesRead === 0) break;
    read += bytesRead;
    yield buffer.subarray(0, bytesRead);
  }
  if (read < size && (await file.stat()).size < size)
    throw new Error(`the file became shorter while it was read: expected ${size} bytes, got ${read}`);
}
