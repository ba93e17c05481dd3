import { createServer } from 'node:net';
import { readFile, rm, writeFile } from 'node:fs/promises';
import { LauncherError } from './errors';

/**
 * Makes this process the only one that runs the installation, until it ends. The lock is an abstract unix socket
 * (unix(7)): the kernel gives the name to one process and takes it back when that ends, however it ends, so no lock is ever stale.
 * @param id names the installation; whoever knows it could hold the lock, so it is random and kept in the installation
 * @param pidFile tells people who holds the lock
 * @throws LauncherError launcher.in_use
 */
export async function lockInstallation(id: string, pidFile: string): Promise<{ release(): Promise<void> }> {
  const server = createServer((socket) => socket.destroy());
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(`\0sls-up-${id}`, resolve);
  }).catch(async (cause: NodeJS.ErrnoException) => {
    if (cause.code !== 'EADDRINUSE') throw cause;
    const pid = (await readFile(pidFile, 'utf8').catch(() => '')).trim();
    throw new LauncherError(
      'launcher.in_use',
      `the installation is run by another sls up${pid && ` (process ${pid})`}`,
      'use that one, end it, or choose another folder with --dir',
    );
  });
  server.unref();
  await writeFile(pidFile, `${process.pid}\n`, { mode: 0o600 });
  return {
    async release() {
      await rm(pidFile, { force: true });
      await new Promise((done) => server.close(done));
    },
  };
}
