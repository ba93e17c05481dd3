import { randomBytes } from 'node:crypto';
import { link, mkdir, open, readdir, rename, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { readText } from '../text/utf8';
import { namePath, onFile } from '../name-path';

/**
 * Replaces a file, in a folder that has to be there: who reads it sees all of the old one or all of the new one, whenever this process ends.
 * @param mode exactly, whatever the umask
 * @throws what the system says, with the path
 */
export async function replaceFile(path: string, content: string | Uint8Array, mode = 0o600): Promise<void> {
  await withDraft(path, content, mode, (draft) => rename(draft, path));
}

/** As `replaceFile`, and on disk before it resolves, whatever happens to the machine then. 0600. */
export async function replaceDurably(path: string, content: string | Uint8Array): Promise<void> {
  await withDraft(path, content, 0o600, (draft) => rename(draft, path));
  await syncToDisk(dirname(path));
}

/** What was written to the file, or the names in the folder, are on disk when it resolves. */
export async function syncToDisk(path: string): Promise<void> {
  const file = await open(path, 'r');
  try {
    await onFile(path, () => file.sync());
  } finally {
    await file.close();
  }
}

/** As `replaceFile`; the folder is made, 0700, where it isn't there. */
export async function writeWhole(path: string, content: string | Uint8Array, mode = 0o600): Promise<void> {
  await mkdir(dirname(path), { recursive: true, mode: 0o700 });
  await replaceFile(path, content, mode);
}

/** More than any file that is kept of a session. */
const PROBE_BYTES = 64 * 1024;

/**
 * Shows that files can be made in a folder, and that there is room: before something is done that can't be undone and has to be kept there. The folder is made,
 * 0700, where it isn't there.
 * @throws what the system says
 */
export async function proveWritable(folder: string): Promise<void> {
  await mkdir(folder, { recursive: true, mode: 0o700 });
  await withDraft(join(folder, '.probe'), Buffer.alloc(PROBE_BYTES), 0o600, (draft) => rm(draft));
}

/** Makes a file that isn't there, 0600, and its folder, 0700: all of it or nothing. @returns false where there was one, which stays */
export async function createWhole(path: string, content: string | Uint8Array): Promise<boolean> {
  await mkdir(dirname(path), { recursive: true, mode: 0o700 });
  let made = true;
  await withDraft(path, content, 0o600, async (draft) => {
    // Unlike a rename, a link never takes the place of another file.
    await link(draft, path).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== 'EEXIST') throw error;
      made = false;
    });
    await rm(draft);
  });
  return made;
}

/** Who replaces a file at the same time doesn't write into the same draft: each has a name of its own. */
async function withDraft(
  path: string,
  content: string | Uint8Array,
  mode: number,
  place: (draft: string) => Promise<void>,
): Promise<void> {
  const draft = `${path}.${randomBytes(6).toString('hex')}.new`;
  try {
    const file = await open(draft, 'wx', mode);
    try {
      await file.chmod(mode);
      await file.writeFile(content);
      // Before it has its name: after a power cut the new name would stand for an empty file.
      await file.datasync();
    } finally {
      await file.close();
    }
    await place(draft);
  } catch (error) {
    await rm(draft, { force: true });
    throw namePath(error, path, draft);
  }
}

/** The file's text; undefined where there is none. */
export async function readIfThere(path: string): Promise<string | undefined> {
  return ifThere(readText(path));
}

/** The names in a folder; none where it isn't there. */
export async function namesIfThere(folder: string): Promise<string[]> {
  return (await ifThere(readdir(folder))) ?? [];
}

/** What a read gives; undefined where there is nothing to read. */
export async function ifThere<T>(read: Promise<T>): Promise<T | undefined> {
  return read.catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return undefined;
    throw error;
  });
}

/** @returns false where there was none */
export async function removeIfThere(path: string): Promise<boolean> {
  try {
    await rm(path);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return false;
    throw error;
  }
}
