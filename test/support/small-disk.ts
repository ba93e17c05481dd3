import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, openSync, rmSync, statfsSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** A file system of its own that can be filled to the last byte. */
export interface SmallDisk {
  folder: string;
  /** Bytes that are left. */
  free(): number;
  /** Takes all that is left but so many bytes. */
  fill(leave?: number): void;
  /** Gives it back. */
  empty(): void;
  /** As `fill`, by a file that has no name any more: the folder is empty. */
  fillUnseen(leave: number): void;
  remove(): void;
}

/**
 * Mounts one of so many bytes. @param folder where; left out: a new one @returns undefined where that isn't possible, which is said: it takes root
 */
export function mountSmallDisk(
  bytes: number,
  folder = mkdtempSync(join(tmpdir(), 'sls-disk-')),
): SmallDisk | undefined {
  mkdirSync(folder, { recursive: true });
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${bytes},mode=0700`, 'sls-test', folder], { stdio: 'pipe' });
  } catch (error) {
    rmSync(folder, { recursive: true });
    process.stderr.write(`skipped, because no file system can be mounted here: ${(error as Error).message}\n`);
    return undefined;
  }
  const filler = join(folder, '.filler');
  const free = (): number => {
    const { bavail, bsize } = statfsSync(folder);
    return bavail * bsize;
  };
  return {
    folder,
    free,
    fill(leave = 0) {
      rmSync(filler, { force: true });
      writeFileSync(filler, Buffer.alloc(Math.max(0, free() - leave)));
    },
    empty: () => rmSync(filler, { force: true }),
    fillUnseen(leave) {
      this.fill(leave);
      // It stays for as long as it is open.
      openSync(filler, 'r');
      rmSync(filler);
    },
    remove() {
      // Lazily: what still has a file open there keeps it.
      execFileSync('umount', ['--lazy', folder]);
      rmSync(folder, { recursive: true, force: true });
    },
  };
}
