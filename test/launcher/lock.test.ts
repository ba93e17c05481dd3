import { randomUUID } from 'node:crypto';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { lockInstallation } from '../../launcher/lock';

let folder: string;
beforeAll(() => void (folder = mkdtempSync(join(tmpdir(), 'sls-lock-'))));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

test('one process at a time runs an installation, and is named to the next one', async () => {
  const id = randomUUID();
  const pidFile = join(folder, 'up.pid');
  const first = await lockInstallation(id, pidFile);
  await expect(lockInstallation(id, pidFile)).rejects.toMatchObject({
    code: 'launcher.in_use',
    message: expect.stringContaining(`process ${process.pid}`),
    hint: expect.stringContaining('--dir'),
  });
  await first.release();
  expect(existsSync(pidFile)).toBe(false);
  const second = await lockInstallation(id, pidFile);
  await second.release();
});
