import { link, mkdir, open, rename, rm } from 'node:fs/promises';
import { dirname } from 'node:path';

/** Replaces a file: all of it or nothing, 0600 in a 0700 folder. */
export async function writePrivate(path: string, content: string): Promise<void> {
  await withDraft(path, content, (draft) => rename(draft, path));
}

/** Makes a file that isn't there: all of it or nothing, 0600 in a 0700 folder. @returns false where there was one, which stays */
export async function createPrivate(path: string, content: string): Promise<boolean> {
  let made = true;
  await withDraft(path, content, async (draft) => {
    // Unlike a rename, a link never takes the place of another file.
    await link(draft, path).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== 'EEXIST') throw error;
      made = false;
    });
    await rm(draft);
  });
  return made;
}

async function withDraft(path: string, content: string, place: (draft: string) => Promise<void>): Promise<void> {
  await mkdir(dirname(path), { recursive: true, mode: 0o700 });
  const draft = `${path}.${process.pid}.new`;
  try {
    const file = await open(draft, 'wx', 0o600);
    try {
      await file.writeFile(content);
    } finally {
      await file.close();
    }
    await place(draft);
  } catch (error) {
    await rm(draft, { force: true });
    throw error;
  }
}

/** @returns false when it wasn't there */
export async function removeIfThere(path: string): Promise<boolean> {
  try {
    await rm(path);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return false;
    throw error;
  }
}
