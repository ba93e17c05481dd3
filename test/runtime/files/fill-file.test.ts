import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fillFile } from '../../../runtime/files/fill-file';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'sls-fill-'));
  chmodSync(folder, 0o777);
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const path = (...names: string[]): string => join(folder, ...names);
const fill = (target: string, text: string, mode = 0o640): Promise<void> =>
  fillFile(target, async (write) => {
    await write(Buffer.from(text));
    return mode;
  });
const inode = (target: string): number => statSync(target).ino;

const SOMEBODY = 65_534;
const isRoot = process.geteuid?.() === 0;
/** Who may everything finds no folder closed. */
const asRoot = isRoot ? test : test.skip;

async function asSomebody(work: () => Promise<void>): Promise<void> {
  process.seteuid?.(SOMEBODY);
  try {
    await work();
  } finally {
    process.seteuid?.(0);
  }
}

test('a file that is there is replaced as a whole, with the mode, and one that isn’t is made', async () => {
  writeFileSync(path('there'), 'longer than what comes');
  const before = inode(path('there'));
  await fill(path('there'), 'new');
  await fill(path('made'), 'new');
  for (const name of ['there', 'made']) {
    expect(readFileSync(path(name), 'utf8')).toBe('new');
    expect(statSync(path(name)).mode & 0o7777).toBe(0o640);
  }
  expect(inode(path('there'))).not.toBe(before);
  expect(readdirSync(folder).sort()).toEqual(['made', 'there']);
});

test('what fails on the way leaves what was there, and nothing beside it', async () => {
  writeFileSync(path('there'), 'old');
  linkSync(path('there'), path('other name'));
  const fails = fillFile(path('there'), async (write) => {
    await write(Buffer.from('half'));
    throw new Error('unplugged');
  });
  await expect(fails).rejects.toThrow('unplugged');
  expect(readFileSync(path('there'), 'utf8')).toBe('old');
  expect(readdirSync(folder).sort()).toEqual(['other name', 'there']);
});

test('links are followed, in folders that are links too, and to what is not there yet', async () => {
  mkdirSync(path('real', 'deep'), { recursive: true });
  symlinkSync('real/deep', path('folder'));
  symlinkSync('../target', path('folder', 'link'));
  symlinkSync('folder/link', path('first'));
  await fill(path('first'), 'made');
  expect(readFileSync(path('real', 'target'), 'utf8')).toBe('made');
  await fill(path('first'), 'and replaced');
  expect(readFileSync(path('real', 'target'), 'utf8')).toBe('and replaced');
  expect([readlinkSync(path('first')), readlinkSync(path('folder', 'link'))]).toEqual(['folder/link', '../target']);
  symlinkSync('round', path('round'));
  await expect(fill(path('round'), 'never')).rejects.toMatchObject({ code: 'ELOOP' });
});

test('a file with another name stays one file', async () => {
  writeFileSync(path('one'), 'longer than what comes');
  linkSync(path('one'), path('two'));
  await fill(path('one'), 'new');
  expect(readFileSync(path('two'), 'utf8')).toBe('new');
  expect(inode(path('two'))).toBe(inode(path('one')));
  expect(readdirSync(folder).sort()).toEqual(['one', 'two']);
});

asRoot('another’s file stays theirs', async () => {
  writeFileSync(path('theirs'), 'old');
  chownSync(path('theirs'), SOMEBODY, SOMEBODY);
  await fill(path('theirs'), 'new');
  expect(statSync(path('theirs'))).toMatchObject({ uid: SOMEBODY, gid: SOMEBODY });
  expect(readFileSync(path('theirs'), 'utf8')).toBe('new');
});

asRoot(
  'a writable file in a folder that takes no new ones is written, and one that isn’t writable is refused',
  async () => {
    mkdirSync(path('closed'));
    for (const [name, mode] of [
      ['open', 0o666],
      ['shut', 0o644],
    ] as const) {
      writeFileSync(path('closed', name), 'longer than what comes');
      chmodSync(path('closed', name), mode);
    }
    await asSomebody(async () => {
      await fill(path('closed', 'open'), 'new');
      await fill(path('closed', 'open'), '');
      await expect(fill(path('closed', 'shut'), 'never')).rejects.toMatchObject({ code: 'EACCES' });
      await expect(fill(path('closed', 'absent'), 'never')).rejects.toMatchObject({ code: 'EACCES' });
    });
    expect(readFileSync(path('closed', 'open'), 'utf8')).toBe('');
    expect(readFileSync(path('closed', 'shut'), 'utf8')).toBe('longer than what comes');
    expect(readdirSync(path('closed'))).toEqual(['open', 'shut']);
  },
);

asRoot('a file that is mounted is written into', async () => {
  writeFileSync(path('outside'), 'longer than what comes');
  writeFileSync(path('mounted'), '');
  execFileSync('mount', ['--bind', path('outside'), path('mounted')]);
  try {
    await fill(path('mounted'), 'new');
    expect(readFileSync(path('outside'), 'utf8')).toBe('new');
  } finally {
    execFileSync('umount', [path('mounted')]);
  }
  expect(readdirSync(folder).sort()).toEqual(['mounted', 'outside']);
});
