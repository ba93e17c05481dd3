import { readArchive, writeArchive } from '../../../installation/backup/archive';
import type { BackupHeader, Section } from '../../../installation/backup/archive';

const HEADER: BackupHeader = {
  backup: 1,
  createdAt: '2026-11-30T00:00:00.000Z',
  trustDomain: 'example.org',
  database: null,
};
const SECTIONS: Section[] = [
  { head: { file: 'keys/a.json', mode: 0o600 }, lines: ['YWJj', 'ZGVm'] },
  { head: { file: 'empty', mode: 0o644 }, lines: [] },
  { head: { table: 'accounts' }, lines: ['{"table":"trap"}', '{"end":true}'] },
];

async function* each<T>(values: readonly T[]): AsyncGenerator<T> {
  yield* values;
}

async function write(header = HEADER, sections = SECTIONS): Promise<string> {
  let text = '';
  for await (const piece of writeArchive(header, each(sections))) text += piece;
  return text;
}

/** @param size of the pieces that it comes in */
async function read(text: string, size = 7): Promise<{ header: BackupHeader; sections: unknown[] }> {
  const pieces = text.match(new RegExp(`[^]{1,${size}}`, 'g')) ?? [];
  const { header, sections } = await readArchive(each(pieces));
  const all: unknown[] = [];
  for await (const { head, lines } of sections) {
    const list: string[] = [];
    for await (const line of lines) list.push(line);
    all.push({ head, lines: list });
  }
  return { header, sections: all };
}

test.each([1, 7, 4096])('gives what was written, in pieces of %d', async (size) => {
  expect(await read(await write(), size)).toEqual({ header: HEADER, sections: SECTIONS });
});

test('passes over lines that nobody reads', async () => {
  const { sections } = await readArchive(each([await write()]));
  const heads: unknown[] = [];
  for await (const { head } of sections) heads.push(head);
  expect(heads).toEqual(SECTIONS.map(({ head }) => head));
});

test('refuses what ends too early, wherever that is', async () => {
  const text = await write();
  const whole = text.indexOf('{"end":true}', text.lastIndexOf('\n\n{"end"')) + '{"end":true}\n'.length;
  for (let length = 0; length < whole; length++)
    await expect(read(text.slice(0, length))).rejects.toMatchObject({ code: 'backup.malformed' });
});

test.each([
  ['no header', '{"file":"a","mode":384}\n\n{"end":true}\n\n'],
  ['a section of no known kind', `${JSON.stringify(HEADER)}\n\n{"folder":"a"}\n\n{"end":true}\n\n`],
  [
    'a file with the mode of a set-user-ID program',
    `${JSON.stringify(HEADER)}\n\n{"file":"a","mode":2541}\n\n{"end":true}\n\n`,
  ],
])('refuses %s', async (_, text) => {
  await expect(read(text)).rejects.toMatchObject({ code: 'backup.malformed' });
});

test('names a later format', async () => {
  await expect(read(`${JSON.stringify({ ...HEADER, backup: 2 })}\n\n`)).rejects.toMatchObject({
    code: 'backup.newer',
    message: 'expected a backup of format 1, got format 2',
  });
});
