import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gunzipSync, gzipSync } from 'node:zlib';
import { generateIdentity, identityToRecipient } from 'age-encryption';
import { decryptText, encryptText, readIdentities } from '../../../installation/backup/encryption';

const TEXT = `line\n雪\n${'x'.repeat(200_000)}\n`;
let identity: string;
let recipient: string;
beforeAll(async () => {
  identity = await generateIdentity();
  recipient = await identityToRecipient(identity);
});

async function* each<T>(values: readonly T[]): AsyncGenerator<T> {
  yield* values;
}

async function encrypted(recipients = [recipient]): Promise<Buffer> {
  const pieces: Uint8Array[] = [];
  for await (const piece of await encryptText(each([TEXT.slice(0, 5), TEXT.slice(5)]), recipients)) pieces.push(piece);
  return Buffer.concat(pieces);
}

async function decrypted(bytes: Uint8Array, identities = [identity]): Promise<string> {
  let text = '';
  for await (const piece of await decryptText(each([bytes]), identities)) text += piece;
  return text;
}

test('gives the text back to each recipient', async () => {
  const other = await generateIdentity();
  const bytes = await encrypted([recipient, await identityToRecipient(other)]);
  expect(await decrypted(bytes)).toBe(TEXT);
  expect(await decrypted(bytes, [other])).toBe(TEXT);
  expect(bytes.includes('xxxx')).toBe(false);
});

const hasAge = spawnSync('age', ['--version']).status === 0;
(hasAge ? describe : describe.skip)('the age program', () => {
  let folder: string;
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'sls-age-'));
    writeFileSync(join(folder, 'key'), `# a comment\n${identity}\n`, { mode: 0o600 });
  });
  afterAll(() => rmSync(folder, { recursive: true }));

  test('opens a backup', async () => {
    const plain = execFileSync('age', ['-d', '-i', join(folder, 'key')], { input: await encrypted() });
    expect(gunzipSync(plain).toString('utf8')).toBe(TEXT);
  });

  test('makes what is read here', async () => {
    const bytes = execFileSync('age', ['-r', recipient], { input: gzipSync(TEXT) });
    expect(await decrypted(bytes)).toBe(TEXT);
  });
});

test('refuses a key that it is not for', async () => {
  await expect(decrypted(await encrypted(), [await generateIdentity()])).rejects.toMatchObject({
    code: 'backup.identity',
    message: 'this backup is not for any of these keys',
  });
});

test.each([
  ['one bit at its end is another', (bytes: Buffer) => (bytes[bytes.length - 1]! ^= 1)],
  ['one bit in its middle is another', (bytes: Buffer) => (bytes[bytes.length >> 1]! ^= 1)],
])('refuses a backup in which %s', async (_, damage) => {
  const bytes = await encrypted();
  damage(bytes);
  await expect(decrypted(bytes)).rejects.toMatchObject({ code: 'backup.malformed' });
});

test('refuses a backup that is cut off, wherever that is', async () => {
  const bytes = await encrypted();
  for (const length of [0, 10, 150, bytes.length >> 1, bytes.length - 1])
    await expect(decrypted(bytes.subarray(0, length))).rejects.toMatchObject({ code: 'backup.malformed' });
});

test.each(['', 'age1', 'age1qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqq', 'ssh-ed25519 AAAA'])(
  'refuses %j for a recipient',
  async (wrong) => {
    await expect(encryptText(each(['']), [wrong])).rejects.toMatchObject({ code: 'backup.identity' });
  },
);

test('reads the keys of a file of age-keygen', () => {
  expect(readIdentities(`# created: today\n# public key: ${recipient}\n${identity}\n`)).toEqual([identity]);
});

test.each(['', '# nothing\n', 'AGE-SECRET-KEY-1X\nsomething else\n'])(
  'refuses %j for a file of keys, and shows nothing of it',
  (text) => {
    expect(() => readIdentities(text)).toThrowWithCode('backup.identity', {
      message: 'expected a file with keys of age (AGE-SECRET-KEY-…), got something else',
    });
  },
);
