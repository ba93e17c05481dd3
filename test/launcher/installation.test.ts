import {
  chmodSync,
  chownSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createKeys, openInstallation, prepareFolder } from '../../launcher/installation';

const NOBODY = 65534;
let parent: string;
let folder: string;

beforeEach(() => {
  parent = mkdtempSync(join(tmpdir(), 'sls-installation-'));
  folder = join(parent, 'server');
});
afterEach(() => rmSync(parent, { recursive: true, force: true }));

const start = async (path: string) => openInstallation(await prepareFolder(path));
const modeOf = (path: string): number => statSync(path).mode & 0o777;

test('a new folder, an empty one and that of an installation are opened, for their owner alone', async () => {
  const { record } = await start(folder);
  expect(modeOf(folder)).toBe(0o700);
  chmodSync(folder, 0o755);
  writeFileSync(join(folder, 'other'), '');
  expect((await start(folder)).record).toEqual(record);
  expect(modeOf(folder)).toBe(0o700);
  const empty = join(parent, 'empty');
  mkdirSync(empty, { mode: 0o755 });
  await start(empty);
  expect(modeOf(empty)).toBe(0o700);
});

test('a folder with other things in it stays as it is', async () => {
  mkdirSync(folder, { mode: 0o755 });
  chmodSync(folder, 0o755);
  writeFileSync(join(folder, 'letter.txt'), '');
  await expect(start(folder)).toRejectWithCode('launcher.folder', { hint: expect.stringContaining('--dir') as string });
  expect({ mode: modeOf(folder), names: readdirSync(folder) }).toEqual({ mode: 0o755, names: ['letter.txt'] });
});

(process.geteuid?.() === 0 ? test : test.skip)(
  "somebody else's folder gets no key: its owner could put others in their place",
  async () => {
    mkdirSync(folder);
    chownSync(folder, NOBODY, NOBODY);
    await expect(start(folder)).toRejectWithCode('launcher.folder');
    expect(readdirSync(folder)).toEqual([]);
  },
);

test('keys that are there stay as they are, at every start', async () => {
  const installation = await start(folder);
  await createKeys(installation);
  const keys = (): Record<string, string> =>
    Object.fromEntries(
      readdirSync(join(folder, 'keys')).map((name) => [name, readFileSync(join(folder, 'keys', name), 'base64')]),
    );
  const before = keys();
  expect(Object.keys(before)).toContain('seal.key');
  await createKeys(installation);
  expect(keys()).toEqual(before);
});
