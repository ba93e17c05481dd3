import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import type { Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { lockInstallation } from '../../launcher/lock';

let folder: string;
beforeEach(() => void (folder = mkdtempSync(join(tmpdir(), 'sls-lock-'))));
afterEach(() => rmSync(folder, { recursive: true, force: true }));

test('one process at a time runs an installation, and is named to the next one', async () => {
  const pidFile = join(folder, 'up.pid');
  const first = await lockInstallation(folder);
  await expect(lockInstallation(folder)).rejects.toMatchObject({
    code: 'launcher.in_use',
    message: expect.stringContaining(`process ${process.pid}`),
    hint: expect.stringContaining('--dir'),
  });
  await first.release();
  expect(existsSync(pidFile)).toBe(false);
  const second = await lockInstallation(folder);
  await second.release();
});

test('of many at once one gets it', async () => {
  const outcomes = await Promise.allSettled(Array.from({ length: 8 }, () => lockInstallation(folder)));
  const got = outcomes.flatMap((outcome) => (outcome.status === 'fulfilled' ? [outcome.value] : []));
  expect(got).toHaveLength(1);
  await got[0]!.release();
});

/** Names of unix sockets that every user of the machine sees, and may take when they are free: unix(7), "Abstract sockets". */
const abstractNames = (): string[] =>
  [...readFileSync('/proc/net/unix', 'utf8').matchAll(/ @(\S+?)@*$/gm)].map(([, name]) => name!);

test('nobody who cannot open the folder keeps its owner from running it', async () => {
  const before = new Set(abstractNames());
  const first = await lockInstallation(folder);
  const seen = abstractNames().filter((name) => !before.has(name));
  await first.release();
  const squatters = await Promise.all(
    seen.map(
      (name) =>
        new Promise<Server | undefined>((resolve) => {
          const server = createServer().once('error', () => resolve(undefined));
          server.listen(`\0${name}`, () => resolve(server));
        }),
    ),
  );
  try {
    await (await lockInstallation(folder)).release();
  } finally {
    for (const server of squatters) server?.close();
  }
});
