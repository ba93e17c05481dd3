import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import fsPromises, { readdir } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  createWhole,
  readIfThere,
  removeIfThere,
  replaceDurably,
  replaceFile,
  writeWhole,
} from '../../../runtime/files/whole-file';
import { fillFile } from '../../../runtime/files/fill-file';
import { readText } from '../../../runtime/text/utf8';
import { mountSmallDisk } from '../../support/small-disk';
import type { SmallDisk } from '../../support/small-disk';

let folder: string;
let file: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'sls-whole-'));
  file = join(folder, 'file');
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const modeOf = (path: string): number => statSync(path).mode & 0o777;

test('a file is replaced, with exactly the mode that was asked for, and no draft is left', async () => {
  writeFileSync(file, 'old', { mode: 0o600 });
  const umask = process.umask(0o077);
  try {
    await replaceFile(file, 'new', 0o644);
  } finally {
    process.umask(umask);
  }
  expect([readFileSync(file, 'utf8'), modeOf(file)]).toEqual(['new', 0o644]);
  await replaceFile(file, Buffer.from('newer'));
  expect([readFileSync(file, 'utf8'), modeOf(file)]).toEqual(['newer', 0o600]);
  expect(readdirSync(folder)).toEqual(['file']);
});

test('who replaces it at once leaves one of the contents, whole', async () => {
  const contents = Array.from({ length: 20 }, (_, i) => String(i).repeat(100_000));
  await Promise.all(contents.map((content) => replaceFile(file, content)));
  expect(contents).toContain(readFileSync(file, 'utf8'));
  expect(readdirSync(folder)).toEqual(['file']);
});

test('a failure leaves what was there, and no draft', async () => {
  mkdirSync(file);
  await expect(replaceFile(file, 'new')).rejects.toMatchObject({ code: 'EISDIR' });
  expect(readdirSync(folder)).toEqual(['file']);
  await expect(replaceFile(join(folder, 'gone', 'file'), 'new')).rejects.toMatchObject({ code: 'ENOENT' });
});

test('a durable replacement is one too', async () => {
  await replaceDurably(file, 'first');
  await replaceDurably(file, 'second');
  expect([readFileSync(file, 'utf8'), modeOf(file), readdirSync(folder)]).toEqual(['second', 0o600, ['file']]);
});

test('a folder that is not there is made, for its owner alone', async () => {
  const deep = join(folder, 'a', 'file');
  await writeWhole(deep, 'text');
  expect([modeOf(join(folder, 'a')), modeOf(deep), readFileSync(deep, 'utf8')]).toEqual([0o700, 0o600, 'text']);
});

test('a file is made once: what is there stays', async () => {
  expect([await createWhole(file, 'first'), await createWhole(file, 'second'), readFileSync(file, 'utf8')]).toEqual([
    true,
    false,
    'first',
  ]);
  expect([modeOf(file), readdirSync(folder)]).toEqual([0o600, ['file']]);
});

test('what is not there is nothing to read or remove; what cannot be read is an error', async () => {
  expect([await readIfThere(file), await removeIfThere(file)]).toEqual([undefined, false]);
  writeFileSync(file, 'text');
  expect([await readIfThere(file), await removeIfThere(file), readdirSync(folder)]).toEqual(['text', true, []]);
  await expect(readIfThere(folder)).rejects.toMatchObject({ code: 'EISDIR' });
});

describe('a full disk', () => {
  let disk: SmallDisk | undefined;
  beforeEach(() => {
    disk = mountSmallDisk(64 * 1024);
    disk?.fill();
  });
  afterEach(() => disk?.remove());

  test.each([
    ['replaceFile', (path: string) => replaceFile(path, 'x'.repeat(10_000))],
    ['replaceDurably', (path: string) => replaceDurably(path, 'x'.repeat(10_000))],
    ['writeWhole', (path: string) => writeWhole(path, 'x'.repeat(10_000))],
    ['createWhole', (path: string) => createWhole(path, 'x'.repeat(10_000))],
  ])('%s names the file, not its draft, and leaves neither', async (_, write) => {
    if (!disk) return;
    const path = join(disk.folder, 'file');
    await expect(write(path)).rejects.toMatchObject({
      code: 'ENOSPC',
      path,
      message: expect.stringMatching(/^ENOSPC: no space left on device, \w+ '\/[^']+\/file'$/) as string,
    });
    expect((await readdir(disk.folder)).filter((name) => name !== '.filler')).toEqual([]);
  });

  test('fillFile as well', async () => {
    if (!disk) return;
    const path = join(disk.folder, 'file');
    const filling = fillFile(path, async (write) => {
      await write(Buffer.alloc(10_000));
      return 0o600;
    });
    await expect(filling).rejects.toMatchObject({ code: 'ENOSPC', path });
  });
});

test('a file that can not be given its name is an error, not one that was there, and leaves nothing', async () => {
  // As on a file system without hard links.
  const refused = Object.assign(new Error('EPERM: operation not permitted'), { code: 'EPERM' });
  const link = jest.spyOn(fsPromises, 'link').mockRejectedValue(refused);
  await expect(createWhole(file, 'text')).rejects.toMatchObject({ code: 'EPERM' });
  expect(await readdir(folder)).toEqual([]);
  link.mockRestore();
});

test('a folder that is read as a file names itself', async () => {
  await expect(readText('/etc')).rejects.toMatchObject({
    code: 'EISDIR',
    message: expect.stringContaining("'/etc'") as string,
  });
});
