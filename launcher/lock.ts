import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { lockFile } from '../runtime/config/lock-file';
import { replaceFile } from '../runtime/files/whole-file';
import { LauncherError } from './errors';
import { readText } from '../runtime/text/utf8';

/** Tells people who runs the installation. */
const PID = 'up.pid';

/**
 * Makes this process the only one that runs the installation, until it ends.
 * @param folder the installation's, 0700
 * @throws LauncherError launcher.in_use
 */
export async function lockInstallation(folder: string): Promise<{ release(): Promise<void> }> {
  const pidFile = join(folder, PID);
  const lock = await lockFile(join(folder, 'lock'));
  if (!lock) {
    const pid = (await readText(pidFile).catch(() => '')).trim();
    throw new LauncherError(
      'launcher.in_use',
      `another sls up is running this installation${pid && ` (process ${pid})`}`,
      'use it, stop it, or choose another folder with --dir',
    );
  }
  await replaceFile(pidFile, `${process.pid}\n`).catch(async (error: unknown) => {
    await lock.release();
    throw error;
  });
  return {
    async release() {
      await rm(pidFile, { force: true });
      await lock.release();
    },
  };
}
