import { execFile } from 'node:child_process';
import { constants } from 'node:fs';
import { chmod, copyFile, rename } from 'node:fs/promises';
import { promisify } from 'node:util';

const run = promisify(execFile);

/** Enough for the slowest machine to say which version of Node it is. */
const VERSION_MS = 30_000;

/**
 * A copy of Node that may be run and not be read. The kernel makes a process of it that no other of the same user can trace: its memory, its
 * environment and its open files are closed to the commands that an enclave runs (execve(2), prctl(2) PR_SET_DUMPABLE).
 * @param path of the copy
 * @returns `path`; undefined where it would be no use (root reads everything) or doesn't run (a folder without programs, a Node that
 *   needs files beside it)
 */
export async function executeOnlyNode(
  path: string,
  { node = process.execPath, uid = process.getuid?.() }: { node?: string; uid?: number } = {},
): Promise<string | undefined> {
  if (uid === 0 || uid === undefined) return undefined;
  const draft = `${path}.new`;
  await copyFile(node, draft, constants.COPYFILE_FICLONE);
  await chmod(draft, 0o111);
  await rename(draft, path);
  return run(path, ['--version'], { timeout: VERSION_MS }).then(
    () => path,
    () => undefined,
  );
}
