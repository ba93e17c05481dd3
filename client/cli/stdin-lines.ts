/** Longer than any secret that is accepted. */
export const LONGEST_LINE = 4096;

let pending = '';
let chunks: AsyncIterator<Buffer> | undefined;

/**
 * The next line of standard input, without its end; undefined after the last. What comes behind it stays for the next call, and is not waited for: a
 * program may answer what this one has said.
 */
export async function nextLine(): Promise<string | undefined> {
  chunks ??= (process.stdin as AsyncIterable<Buffer>)[Symbol.asyncIterator]();
  while (!pending.includes('\n') && pending.length <= LONGEST_LINE) {
    const { done, value } = await chunks.next();
    if (done === true) break;
    pending += value.toString('utf8');
  }
  const end = pending.indexOf('\n');
  const line = end === -1 ? pending : pending.slice(0, end);
  pending = end === -1 ? '' : pending.slice(end + 1);
  return line === '' && end === -1 ? undefined : line.replace(/\r$/, '');
}
