import { readlink, realpath } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';

/** Where a path leads, as one that writes to it would find: through every link, also to a file that isn't there yet. */
export async function followLinks(path: string): Promise<string> {
  try {
    return await realpath(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
  }
  const folder = await realpath(dirname(path));
  const here = join(folder, basename(path));
  // EINVAL: no link, but something that was made meanwhile. ENOENT: a new name.
  const next = await readlink(here).catch(() => undefined);
  return next === undefined ? here : followLinks(resolve(folder, next));
}
