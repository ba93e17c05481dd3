import { spawn } from 'node:child_process';
import { open } from 'node:fs/promises';

/** flock(1) says by it that somebody else has the lock. */
const CONFLICT = 75;

/**
 * Locks a file, which is made where it isn't there, by flock(2): the lock is of the open file, so it ends with this process, however that ends, and is never
 * stale. Whoever may open the file may hold it; nobody else can, as they could hold a name that all users share.
 * @param waitSeconds how long to wait for another process that has it. Default: not at all
 * @returns what gives it back; undefined when another process has it
 * @throws Error where there is no flock(1) (util-linux), or the file can't be opened
 */
export async function lockFile(path: string, waitSeconds = 0): Promise<{ release(): Promise<void> } | undefined> {
  const file = await open(path, 'a', 0o600);
  const patience = waitSeconds === 0 ? ['--nonblock'] : ['--timeout', String(waitSeconds)];
  const code = await new Promise<number | null>((resolve, reject) => {
    // Locks the file that we have open, and ends.
    const child = spawn('flock', ['--exclusive', ...patience, '--conflict-exit-code', String(CONFLICT), '3'], {
      stdio: ['ignore', 'ignore', 'ignore', file.fd],
    });
    child.once('error', reject).once('exit', resolve);
  }).catch(async (error: unknown) => {
    await file.close();
    throw error;
  });
  if (code === 0) return { release: () => file.close() };
  await file.close();
  if (code === CONFLICT) return undefined;
  throw new Error(`expected flock to lock ${path}, got exit code ${String(code)}`);
}
