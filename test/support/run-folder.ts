import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { mkdir, rename, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

const VARIABLE = 'SLS_TEST_RUN';

/** A folder that all test files of a run share. Jest's global set-up makes it; whatever uses the test support without jest gets one that ends with it. */
export function runFolder(): string {
  let folder = process.env[VARIABLE];
  if (folder === undefined) {
    const made = makeRunFolder();
    process.once('exit', () => removeRunFolder(made));
    folder = made;
  }
  return folder;
}

export function makeRunFolder(): string {
  return (process.env[VARIABLE] = mkdtempSync(join(tmpdir(), 'sls-run-')));
}

export function removeRunFolder(folder: string | undefined): void {
  // A database server that was just killed may write its last file meanwhile.
  if (folder !== undefined) rmSync(folder, { recursive: true, force: true, maxRetries: 5 });
}

/**
 * What costs seconds to make is made by the test file that needs it first, and copied from then on.
 * @param make fills an empty folder
 * @returns the folder, which is to be read alone
 */
export async function madeOnce(name: string, make: (folder: string) => Promise<void>): Promise<string> {
  const folder = join(runFolder(), name);
  const draft = `${folder}.draft`;
  while (!existsSync(folder)) {
    const first = await mkdir(draft).then(
      () => true,
      () => false,
    );
    if (!first) {
      // Another worker makes it. Should that fail, its draft is gone and it is our turn.
      await sleep(20);
      continue;
    }
    try {
      await make(draft);
      await rename(draft, folder);
    } finally {
      await rm(draft, { recursive: true, force: true });
    }
  }
  return folder;
}
