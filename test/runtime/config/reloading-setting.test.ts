import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ConfigError } from '../../../runtime/config/environment';
import { currentSetting, reloadingSetting } from '../../../runtime/config/reloading-setting';

let folder: string;
let files: { KEY_FILE: string; CERTIFICATE_FILE: string };
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'sls-setting-'));
  files = { KEY_FILE: join(folder, 'key'), CERTIFICATE_FILE: join(folder, 'certificate') };
  for (const [name, path] of Object.entries(files)) writeFileSync(path, `content of ${name}`);
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const messageOf = async (loading: Promise<unknown>): Promise<string> => {
  const error = await loading.then(
    () => undefined,
    (cause: unknown) => cause,
  );
  expect(error).toBeInstanceOf(ConfigError);
  return (error as ConfigError).message;
};

test('each file is read once at the start, in the order of the settings', async () => {
  const seen: string[][] = [];
  const read = await reloadingSetting(files, (contents) => seen.push(contents.map(String)));
  await read();
  expect(seen).toEqual([['content of KEY_FILE', 'content of CERTIFICATE_FILE']]);
});

test('a file that cannot be read is named with its setting, and no other', async () => {
  rmSync(files.CERTIFICATE_FILE);
  expect(await messageOf(reloadingSetting(files, () => 0))).toBe(
    `CERTIFICATE_FILE (${files.CERTIFICATE_FILE}): the file can't be read: ENOENT`,
  );
  expect(await messageOf(currentSetting({ FOLDER_FILE: folder }, () => 0))).toBe(
    `FOLDER_FILE (${folder}): the file can't be read: EISDIR`,
  );
});

test('files that cannot be parsed are named with their settings, and nothing of their content', async () => {
  const refuse = (): never => {
    throw new TypeError('expected a key of the certificate');
  };
  expect(await messageOf(reloadingSetting(files, refuse))).toBe(
    `KEY_FILE (${files.KEY_FILE}), CERTIFICATE_FILE (${files.CERTIFICATE_FILE}): expected a key of the certificate`,
  );
  const parsed = currentSetting({ KEYS_FILE: files.KEY_FILE }, ([json]) => JSON.parse(String(json)) as unknown);
  expect(await messageOf(parsed)).toBe(`KEYS_FILE (${files.KEY_FILE}): expected JSON, got something else`);
});
