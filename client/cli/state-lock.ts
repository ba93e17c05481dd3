import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { lockFile } from '../../runtime/config/lock-file';
import { stateFolder } from './folders';

/** Files are written, and nobody is waited for, while it is held: who takes longer has been stopped. */
const WAIT_SECONDS = 10;

/**
 * Does what replaces or removes saved sessions and tokens while no other command does: what one command takes the place of, it has seen, and can end. The work
 * makes no calls. Where no lock can be had (no flock(1), a folder that is read-only) it is done without.
 */
export async function withStateLock<T>(work: () => Promise<T>): Promise<T> {
  const lock = await lockState().catch(() => undefined);
  try {
    return await work();
  } finally {
    await lock?.release();
  }
}

async function lockState(): ReturnType<typeof lockFile> {
  await mkdir(stateFolder(), { recursive: true, mode: 0o700 });
  return lockFile(join(stateFolder(), '.lock'), WAIT_SECONDS);
}
