import { pipeline, Readable } from 'node:stream';
import { createGunzip, createGzip } from 'node:zlib';
import { Decrypter, Encrypter } from 'age-encryption';
import { BackupError } from '../../licensing/backup/errors';

/** `age1…` (age-encryption.org/v1, X25519), or that of a post-quantum hybrid key. */
const RECIPIENT = /^age1[a-z0-9]+$/;
const IDENTITY = /^AGE-SECRET-KEY-[A-Z0-9-]+$/;

/**
 * Compresses and encrypts a text: a file of age (age-encryption.org/v1) to each of the recipients, with gzip inside.
 * @throws BackupError backup.identity
 */
export async function encryptText(
  text: AsyncIterable<string>,
  recipients: readonly string[],
): Promise<AsyncIterable<Uint8Array>> {
  const encrypter = new Encrypter();
  for (const recipient of recipients) {
    try {
      if (!RECIPIENT.test(recipient)) throw new TypeError('another form');
      encrypter.addRecipient(recipient);
    } catch (cause) {
      throw new BackupError(
        'backup.identity',
        `expected a recipient of age (age1…), got ${JSON.stringify(recipient.slice(0, 80))}`,
        'age-keygen makes a key, and prints its recipient',
        { cause },
      );
    }
  }
  const compressed = pipeline(Readable.from(text), createGzip(), () => undefined);
  return (await encrypter.encrypt(
    Readable.toWeb(compressed) as ReadableStream<Uint8Array>,
  )) as ReadableStream<Uint8Array> & AsyncIterable<Uint8Array>;
}

/** The keys in a file of age-keygen's: one a line, lines with # left out. @throws BackupError backup.identity, without the text */
export function readIdentities(text: string): string[] {
  const lines = text
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '' && !line.startsWith('#'));
  if (lines.length > 0 && lines.every((line) => IDENTITY.test(line))) return lines;
  throw new BackupError('backup.identity', 'expected a file with keys of age (AGE-SECRET-KEY-…), got something else');
}

/**
 * The text that `encryptText` was given. Nothing of it is given that age has not authenticated; that it ends where it ended is for the reader.
 * @throws BackupError backup.identity where none of the keys opens it; backup.malformed
 */
export async function decryptText(
  encrypted: AsyncIterable<Uint8Array>,
  identities: readonly string[],
): Promise<AsyncIterable<string>> {
  const decrypter = new Decrypter();
  for (const identity of identities) decrypter.addIdentity(identity);
  let compressed: ReadableStream<Uint8Array>;
  try {
    compressed = await decrypter.decrypt(Readable.toWeb(Readable.from(encrypted)) as ReadableStream<Uint8Array>);
  } catch (cause) {
    const opened = /no identity matched/i.test((cause as Error).message);
    throw new BackupError(
      opened ? 'backup.identity' : 'backup.malformed',
      opened ? 'this backup is not for any of these keys' : 'expected a backup, a file of age, got something else',
      opened ? 'name the file with the key of one of its recipients: --identity FILE' : undefined,
      { cause },
    );
  }
  return textOf(compressed);
}

async function* textOf(compressed: ReadableStream<Uint8Array>): AsyncGenerator<string> {
  const decoder = new TextDecoder('utf-8', { fatal: true });
  const plain = pipeline(
    Readable.fromWeb(compressed as Parameters<typeof Readable.fromWeb>[0]),
    createGunzip(),
    () => undefined,
  );
  try {
    for await (const chunk of plain) yield decoder.decode(chunk as Uint8Array, { stream: true });
    yield decoder.decode();
  } catch (cause) {
    throw new BackupError('backup.malformed', 'the backup is damaged, or not all of it is there', undefined, { cause });
  }
}
