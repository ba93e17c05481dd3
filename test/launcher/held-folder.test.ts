import { mkdirSync, mkdtempSync, renameSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { HeldFolder } from '../../launcher/held-folder';
import { TestClock } from '../support/clock';

let parent: string;
let path: string;
let held: HeldFolder;
let clock: TestClock;
let watching: AbortController;

beforeEach(async () => {
  parent = mkdtempSync(join(tmpdir(), 'sls-held-'));
  path = join(parent, 'state', 'server');
  mkdirSync(path, { recursive: true });
  clock = new TestClock();
  held = await HeldFolder.open(path, clock);
  watching = new AbortController();
});
afterEach(async () => {
  watching.abort();
  await held.close();
  rmSync(parent, { recursive: true, force: true });
});

const code = 'launcher.folder_moved';

test('a folder that is where it was is no matter', async () => {
  await held.requireThere();
});

test('one that was moved is refused with where it is now, also where another one stands in its place', async () => {
  const now = join(parent, 'moved');
  renameSync(path, now);
  const refusal = { message: expect.stringContaining(`at ${path}, got it at ${now}`) as string };
  await expect(held.requireThere()).toRejectWithCode(code, refusal);
  mkdirSync(path);
  await expect(held.requireThere()).toRejectWithCode(code, refusal);
  rmSync(path, { recursive: true });
  renameSync(now, path);
  await held.requireThere();
});

test('so is one whose parent was moved, and one that was removed', async () => {
  renameSync(join(parent, 'state'), join(parent, 'elsewhere'));
  await expect(held.requireThere()).toRejectWithCode(code, {
    hint: expect.stringContaining(`sls up --dir ${join(parent, 'elsewhere', 'server')}`) as string,
  });
  rmSync(join(parent, 'elsewhere'), { recursive: true });
  await expect(held.requireThere()).toRejectWithCode(code, {
    message: expect.stringContaining('was removed while it ran') as string,
  });
});

test('whoever watches hears of it within a second', async () => {
  const moved = held.moved(watching.signal);
  moved.catch(() => undefined);
  await clock.untilWaiting();
  await clock.advance(1_000);
  await clock.untilWaiting();
  renameSync(path, join(parent, 'moved'));
  await clock.advance(1_000);
  expect(await moved).toMatchObject({ code });
});
