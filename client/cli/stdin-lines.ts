import { decodeUtf8, NotUtf8 } from '../../runtime/text/utf8';
import { notUtf8 } from './input';

/** Longer than any secret that is accepted, in bytes. */
export const MAX_LINE_LENGTH = 4096;

const LINE_FEED = 0x0a;
let pending: Buffer = Buffer.alloc(0);
let chunks: AsyncIterator<Buffer> | undefined;

/**
 * The next line of standard input, without its end; undefined after the last. What comes behind it stays for the next call, and is not waited for: a
 * program may answer what this one has said. Decoded as a whole: it may come in pieces that end inside a letter.
 * @throws CliError 2 where it is no UTF-8
 */
export async function nextLine(): Promise<string | undefined> {
  chunks ??= (process.stdin as AsyncIterable<Buffer>)[Symbol.asyncIterator]();
  while (!pending.includes(LINE_FEED) && pending.length <= MAX_LINE_LENGTH) {
    const { done, value } = await chunks.next();
    if (done === true) break;
    pending = Buffer.concat([pending, value]);
  }
  const end = pending.indexOf(LINE_FEED);
  const line = end === -1 ? pending : pending.subarray(0, end);
  pending = end === -1 ? Buffer.alloc(0) : pending.subarray(end + 1);
  if (line.length === 0 && end === -1) return undefined;
  try {
    return decodeUtf8(line, 'standard input').replace(/\r$/, '');
  } catch (error) {
    if (!(error instanceof NotUtf8)) throw error;
    throw notUtf8('standard input', error);
  }
}
