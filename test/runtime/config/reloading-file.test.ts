import { mkdtempSync, renameSync, rmSync, symlinkSync, unlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { currentFiles, reloadingFiles } from '../../../runtime/config/reloading-file';
import { TestClock } from '../../support/clock';

let folder: string;
beforeEach(() => void (folder = mkdtempSync(join(tmpdir(), 'sls-reload-'))));
afterEach(() => rmSync(folder, { recursive: true, force: true }));
const path = (name: string): string => join(folder, name);
const replace = (name: string, text: string): void => {
  writeFileSync(path(`${name}.new`), text);
  renameSync(path(`${name}.new`), path(name));
};
const json = ([bytes]: Buffer[]): unknown => JSON.parse(String(bytes));

test('a file that is replaced is read again, and only then', async () => {
  replace('a', '1');
  let parsed = 0;
  const get = await reloadingFiles([path('a')], (contents) => ((parsed += 1), json(contents)), { lookMs: 0 });
  expect([await get(), await get(), parsed]).toEqual([1, 1, 1]);
  replace('a', '2');
  expect([await get(), await get(), parsed]).toEqual([2, 2, 2]);
});

test('between two looks the disk is left alone, unless the caller has reason to look', async () => {
  replace('a', '1');
  const clock = new TestClock();
  const get = await reloadingFiles([path('a')], json, { clock });
  replace('a', '2');
  await clock.advance(999);
  expect(await get()).toBe(1);
  await clock.advance(1);
  expect(await get()).toBe(2);
  replace('a', '3');
  expect(await get()).toBe(2);
  expect(await get({ fresh: true })).toBe(3);
});

test('a clock that is set back does not keep a change from being read', async () => {
  replace('a', '1');
  const clock = new TestClock();
  const get = await reloadingFiles([path('a')], json, { clock });
  replace('a', '2');
  clock.set(0);
  await clock.advance(1_000);
  expect(await get()).toBe(2);
});

test('code that can not wait has what the files held at the last look, until it looks no more', async () => {
  replace('a', '1');
  const clock = new TestClock();
  let parsed = (): void => undefined;
  const files = await currentFiles([path('a')], (contents) => (parsed(), json(contents)), { clock });
  replace('a', '2');
  expect(files.current).toBe(1);
  const again = new Promise<void>((resolve) => (parsed = resolve));
  await clock.advance(1_000);
  await again;
  await new Promise(setImmediate);
  expect(files.current).toBe(2);
  files.close();
  expect(clock.waits).toEqual([]);
});

test('a mounted Secret is replaced by its symbolic link, and that is noticed', async () => {
  replace('v1', '1');
  replace('v2', '2');
  symlinkSync(path('v1'), path('current'));
  const get = await reloadingFiles([path('current')], json, { lookMs: 0 });
  expect(await get()).toBe(1);
  unlinkSync(path('current'));
  symlinkSync(path('v2'), path('current'));
  expect(await get()).toBe(2);
});

test('while a changed file can not be used, the last good one stays', async () => {
  replace('a', '1');
  const get = await reloadingFiles([path('a')], json, { lookMs: 0 });
  replace('a', '{');
  expect(await get()).toBe(1);
  unlinkSync(path('a'));
  expect(await get()).toBe(1);
  replace('a', '3');
  expect(await get()).toBe(3);
});

test('a file that can not be used at the start is an error', async () => {
  replace('a', '{');
  await expect(reloadingFiles([path('a')], json)).rejects.toThrow(SyntaxError);
  await expect(reloadingFiles([path('b')], json)).rejects.toMatchObject({ code: 'ENOENT' });
});

test('files that belong together are parsed together', async () => {
  replace('key', 'k1');
  replace('certificate', 'c1');
  const pair = ([key, certificate]: Buffer[]): string => {
    if (String(key).slice(1) !== String(certificate).slice(1)) throw new Error('no pair');
    return `${String(key)}+${String(certificate)}`;
  };
  const get = await reloadingFiles([path('key'), path('certificate')], pair, { lookMs: 0 });
  replace('key', 'k2');
  expect(await get()).toBe('k1+c1');
  replace('certificate', 'c2');
  expect(await get()).toBe('k2+c2');
});
