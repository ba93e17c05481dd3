import { randomBytes } from 'node:crypto';
import type { Stats } from 'node:fs';
import { constants, open, rename, stat, unlink } from 'node:fs/promises';
import type { FileHandle } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { followLinks } from './links';
import { namePath, onFile } from '../name-path';
import { SyncedFile } from './synced-file';
import { syncToDisk } from './whole-file';

type Write = (piece: Uint8Array) => Promise<void>;

/** Writes what there is. @returns permission bits that the file gets */
type Fill = (write: Write) => Promise<number>;

/** Bytes that are copied at a time where a file can't be replaced. */
const PIECE_BYTES = 1024 * 1024;
/** What a folder says in which nothing can be made, though a file in it may be writable. */
const NO_ROOM_BESIDE = new Set(['EACCES', 'EPERM', 'EROFS']);
/** What a file says whose place can't be taken: something is mounted there, or the folder's sticky bit protects it. */
const NOT_REPLACEABLE = new Set(['EBUSY', 'EXDEV', 'EACCES', 'EPERM']);

/**
 * Fills a regular file, new or there, through whatever links lead to it: all of it or nothing, and on disk. Its pieces go to a file beside it, which takes
 * its place in one step. Where that would make another file of it (it has other names, or another owner) or can't be (a file that is mounted), the pieces go
 * beside it first and into it at the end; and straight into it only where its folder takes nothing new.
 * @throws what the system says, with the path; what `fill` throws
 */
export async function fillFile(path: string, fill: Fill): Promise<void> {
  const target = await followLinks(path);
  const there = await stat(target).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return undefined;
    throw error;
  });
  const beside = await openBeside(target, there);
  if (beside === undefined) return fillInPlace(target, fill);
  const { file, path: partial } = beside;
  try {
    const synced = new SyncedFile(file, target);
    const mode = await fill((piece) => synced.write(piece));
    if (isReplaceable(there)) {
      await onFile(target, () => file.chmod(mode));
      await synced.sync();
      if (await takePlace(partial, target, there)) return await syncNames(dirname(target));
    } else await synced.written();
    await fillInPlace(target, async (write) => {
      await copy(partial, write);
      return mode;
    });
    await unlink(partial);
  } catch (error) {
    await unlink(partial).catch(() => undefined);
    throw error;
  } finally {
    await file.close().catch(() => undefined);
  }
}

/** Its name is short: a target's own may be as long as names can be. @returns undefined where there is no room, but a file to write into */
async function openBeside(
  target: string,
  there: Stats | undefined,
): Promise<{ file: FileHandle; path: string } | undefined> {
  const path = join(dirname(target), `.sls-${randomBytes(8).toString('hex')}.part`);
  try {
    return { file: await open(path, 'wx', 0o600), path };
  } catch (error) {
    if (there && NO_ROOM_BESIDE.has((error as NodeJS.ErrnoException).code ?? '')) return undefined;
    throw namePath(error, target, path);
  }
}

/** True where a new file of this process's is as good as the one that is there. */
function isReplaceable(there: Stats | undefined): boolean {
  return there === undefined || (there.nlink === 1 && there.uid === process.geteuid?.());
}

/** @returns false where the target's place can't be taken */
async function takePlace(partial: string, target: string, there: Stats | undefined): Promise<boolean> {
  try {
    await rename(partial, target);
    return true;
  } catch (error) {
    if (there && NOT_REPLACEABLE.has((error as NodeJS.ErrnoException).code ?? '')) return false;
    throw error;
  }
}

async function fillInPlace(target: string, fill: Fill): Promise<void> {
  // Not to be made where it has gone meanwhile, and emptied by whoever has something to put there.
  const file = await open(target, constants.O_WRONLY);
  try {
    const synced = new SyncedFile(file, target);
    let emptied = false;
    const empty = async (): Promise<void> => {
      if (emptied) return;
      emptied = true;
      await onFile(target, () => file.truncate());
    };
    const mode = await fill(async (piece) => {
      await empty();
      await synced.write(piece);
    });
    await empty();
    // Whose it is decides about its permissions: another's keeps those that it has.
    await file.chmod(mode).catch(() => undefined);
    await synced.sync();
  } finally {
    await file.close();
  }
}

async function copy(from: string, write: Write): Promise<void> {
  const file = await open(from, 'r');
  try {
    for (;;) {
      const piece = Buffer.allocUnsafe(PIECE_BYTES);
      const { bytesRead, buffer } = await onFile(from, () => file.read(piece, 0, PIECE_BYTES, null));
      if (bytesRead === 0) return;
      await write(buffer.subarray(0, bytesRead));
    }
  } finally {
    await file.close();
  }
}

/** A folder that can't be read, or whose file system can't do it, has its new name all the same. */
async function syncNames(folder: string): Promise<void> {
  await syncToDisk(folder).catch((error: NodeJS.ErrnoException) => {
    if (!['EACCES', 'EPERM', 'EINVAL'].includes(error.code ?? '')) throw error;
  });
}
