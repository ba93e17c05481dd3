import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { generateIdentity, identityToRecipient } from 'age-encryption';
import { writeArchive } from '../../installation/backup/archive';
import type { Section } from '../../installation/backup/archive';
import { encryptText } from '../../installation/backup/encryption';
import { restoreFrom } from '../../launcher/restore';

let folder: string;
let identity: string;
beforeAll(async () => (identity = await generateIdentity()));
beforeEach(() => (folder = mkdtempSync(join(tmpdir(), 'sls-restore-'))));
afterEach(() => rmSync(folder, { recursive: true }));

/** A backup as somebody else may make it who knows the recipient: keys and files alone. */
async function backupOf(files: Array<[string, string]>): Promise<Buffer> {
  async function* sections(): AsyncGenerator<Section> {
    for (const [file, content] of files)
      yield { head: { file, mode: 0o600 }, lines: [Buffer.from(content).toString('base64')] };
  }
  const header = {
    backup: 1 as const,
    createdAt: '2026-11-30T00:00:00.000Z',
    trustDomain: 'a.example',
    database: null,
  };
  const pieces: Uint8Array[] = [];
  for await (const piece of await encryptText(writeArchive(header, sections()), [await identityToRecipient(identity)]))
    pieces.push(piece);
  return Buffer.concat(pieces);
}

const restore = (backup: Uint8Array, into = join(folder, 'server')): ReturnType<typeof restoreFrom> =>
  restoreFrom(
    into,
    async function* () {
      yield backup;
    },
    { identities: [identity], reason: 'a test', report: () => undefined },
  );

test('makes the folder 0700 with the files in it', async () => {
  const { header, sessionsEnded } = await restore(
    await backupOf([
      ['keys/a.json', 'secret'],
      ['installation.json', '{}'],
    ]),
  );
  expect({ header, sessionsEnded }).toMatchObject({ header: { trustDomain: 'a.example' }, sessionsEnded: 0 });
  expect(readFileSync(join(folder, 'server', 'keys', 'a.json'), 'utf8')).toBe('secret');
  expect(statSync(join(folder, 'server')).mode & 0o777).toBe(0o700);
  expect(statSync(join(folder, 'server', 'keys', 'a.json')).mode & 0o777).toBe(0o600);
  expect(readdirSync(folder)).toEqual(['server']);
});

test.each(['../evil', '/evil', 'keys/../../evil', 'keys/../evil', '', '.'])(
  'refuses a backup with a file called %j, and writes nothing',
  async (name) => {
    await expect(
      restore(
        await backupOf([
          ['good', 'x'],
          [name, 'x'],
        ]),
      ),
    ).rejects.toMatchObject({ code: 'backup.malformed' });
    expect(readdirSync(folder)).toEqual([]);
    expect(existsSync('/evil')).toBe(false);
  },
);

test('refuses a folder that holds anything, and leaves it as it was', async () => {
  writeFileSync(join(folder, 'theirs'), 'kept');
  await expect(restore(await backupOf([['good', 'x']]), folder)).rejects.toMatchObject({
    code: 'backup.database_in_use',
  });
  expect(readdirSync(folder)).toEqual(['theirs']);
});

test('takes an empty folder', async () => {
  const into = mkdtempSync(join(folder, 'empty-'));
  await restore(await backupOf([['good', 'x']]), into);
  expect(readdirSync(into)).toEqual(['good']);
});
