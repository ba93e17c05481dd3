import { readFile } from 'node:fs/promises';
import type { Readable } from 'node:stream';
import { CodedError } from '../../errors/coded-error';
import { onFile } from '../name-path';

const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** Bytes from outside that are no UTF-8. Nothing of them is in the message: they may be a secret. */
export class NotUtf8 extends CodedError<'text.not_utf8'> {
  override readonly name = 'NotUtf8';

  /** @param what was read, such as a file's path */
  constructor(what: string, options?: ErrorOptions) {
    super('text.not_utf8', `expected ${what} to be UTF-8 text, got other bytes`, options);
  }
}

/**
 * Text from outside, strictly: Node.js puts U+FFFD for each byte that is no UTF-8, so texts that differ become one. Whole: a letter may be cut between two
 * pieces of a stream, so no piece of one is ever decoded by itself.
 * @throws NotUtf8
 */
export function decodeUtf8(bytes: Uint8Array, what: string): string {
  try {
    return decoder.decode(bytes);
  } catch (cause) {
    throw new NotUtf8(what, { cause });
  }
}

/** A file's text. @throws NotUtf8; what the system says. Both name the file */
export async function readText(path: string): Promise<string> {
  return decodeUtf8(await onFile(path, () => readFile(path)), path);
}

/** A stream's text, once all of it is there. @throws NotUtf8; what the stream fails with */
export async function streamText(stream: Readable, what: string): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of stream) chunks.push(chunk as Buffer);
  return decodeUtf8(Buffer.concat(chunks), what);
}

/** What Node.js puts in the place of bytes that are no UTF-8, where it decodes by itself: arguments, the environment, a terminal's lines. */
export const REPLACEMENT = '\ufffd';

/** What a person is to read, as far as it is text: what another program wrote to a log. Nothing is decided by it. */
export function readableText(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('utf8');
}
