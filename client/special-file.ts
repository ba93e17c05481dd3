import { constants, createWriteStream, fstatSync, open as openDescriptor } from 'node:fs';
import { open, stat } from 'node:fs/promises';
import { Socket } from 'node:net';
import type { Writable } from 'node:stream';
import { promisify } from 'node:util';
import { systemClock } from '../runtime/clock';

/** How often it is looked whether a FIFO has got a reader. */
const LOOK_MS = 50;
/** What this process has open by a number, under the names that systems give it. */
const DESCRIPTOR = /^\/(?:dev|proc\/self)\/fd\/(\d{1,9})$/;
const STANDARD: Record<string, number> = { '/dev/stdout': 1, '/dev/stderr': 2 };

/** Something that is written into, and never replaced. */
interface SpecialFile {
  /** Opens it. A FIFO has to have a reader first: who waits for one can be let go. */
  open(signal: AbortSignal): Promise<Writable>;
}

/**
 * What is at a path of this machine, where that is no regular file, or one that this process has open. @returns undefined for any other, and for none
 */
export async function specialFile(path: string): Promise<SpecialFile | undefined> {
  const descriptor = STANDARD[path] ?? DESCRIPTOR.exec(path)?.[1];
  if (descriptor !== undefined) return { open: () => Promise.resolve(streamTo(Number(descriptor))) };
  const info = await stat(path).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return undefined;
    throw error;
  });
  if (info === undefined || info.isFile()) return undefined;
  if (info.isFIFO()) return { open: (signal) => openFifo(path, signal) };
  // A device; a folder and a socket say themselves that they are none.
  return { open: async () => (await open(path, constants.O_WRONLY)).createWriteStream() };
}

function streamTo(fd: number): Writable {
  if (fd === 1) return process.stdout;
  if (fd === 2) return process.stderr;
  const info = fstatSync(fd);
  if (info.isFIFO() || info.isSocket()) return new Socket({ fd, readable: false, writable: true });
  return createWriteStream('', { fd });
}

/** Without a thread that waits in open(2), which would keep this process from its end (fifo(7)). */
async function openFifo(path: string, signal: AbortSignal): Promise<Writable> {
  for (;;) {
    signal.throwIfAborted();
    try {
      const fd = await promisify(openDescriptor)(path, constants.O_WRONLY | constants.O_NONBLOCK);
      return new Socket({ fd, readable: false, writable: true });
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENXIO') throw error;
    }
    await systemClock.sleep(LOOK_MS);
  }
}
