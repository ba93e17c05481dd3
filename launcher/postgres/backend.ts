import { statfs } from 'node:fs/promises';
import { PGlite } from '@electric-sql/pglite';
import { Backoff } from '../../runtime/backoff';
import { systemClock } from '../../runtime/clock';
import { silent } from '../../runtime/log/log';
import type { Logger } from '../../runtime/log/log';
import { LauncherError } from '../errors';
import { panicOf } from './wire';

const MIB = 1024 * 1024;
/** Less, and a database isn't opened: recovery writes a segment of the write-ahead log (16 MiB), and then there are the tables. */
const ROOM_BYTES = 32 * MIB;
const RETRY = { firstMs: 500, mostMs: 10_000 };

/** Numbers by which PGlite's file system reports what the machine's own said (WASI preview 1, `errno`). */
const WASI_ERRORS: Record<number, string> = {
  2: 'EACCES: permission denied',
  19: 'EDQUOT: disk quota exceeded',
  29: 'EIO: i/o error',
  33: 'EMFILE: too many open files',
  44: 'ENOENT: no such file or directory',
  51: 'ENOSPC: no space left on device',
  63: 'EPERM: operation not permitted',
  69: 'EROFS: read-only file system',
};

async function hasRoom(folder: string): Promise<boolean> {
  const { bavail, bsize } = await statfs(folder);
  return bavail * bsize >= ROOM_BYTES;
}

/** What PGlite threw, which is no Error where its file system failed and says nothing where its database did. */
async function cannotOpen(folder: string, cause: unknown): Promise<LauncherError> {
  const { errno, message } = cause as { errno?: unknown; message?: unknown };
  const full = !(await hasRoom(folder).catch(() => true));
  const said = (typeof errno === 'number' ? WASI_ERRORS[errno] : undefined) ?? String(message ?? JSON.stringify(cause));
  return new LauncherError(
    'launcher.database',
    `the database in ${folder} can't be opened: ${said}`,
    full
      ? `its disk has less than ${ROOM_BYTES / MIB} MiB left: make room there`
      : 'can its files be read and written by this user?',
    { cause },
  );
}

/** @throws LauncherError launcher.database */
export async function openDatabase(folder: string): Promise<PGlite> {
  try {
    return await PGlite.create(folder);
  } catch (error) {
    throw await cannotOpen(folder, error);
  }
}

interface BackendOptions {
  /** Silent, unless told. */
  log?: Logger;
  /** One line for the person at the terminal. */
  report?: (line: string) => void;
  /** Told when it has died: whoever used it has to begin anew. */
  onDeath(): void;
}

/**
 * PostgreSQL's one backend. It dies of a disk that is full in the middle of its log, as a server would (PANIC), and answers nothing from then on; it is opened
 * again when there is room, with all that was committed.
 */
export class Backend {
  private database: PGlite | undefined;
  private readonly closing = new AbortController();
  private reopening: Promise<void> | undefined;

  private constructor(
    private readonly folder: string,
    database: PGlite,
    private readonly options: BackendOptions,
  ) {
    this.database = database;
  }

  /** @throws LauncherError launcher.database */
  static async open(folder: string, options: BackendOptions): Promise<Backend> {
    return new Backend(folder, await openDatabase(folder), options);
  }

  /** @param messages of the frontend, whole @returns its answer; undefined where it is dead */
  async execute(messages: Uint8Array): Promise<Uint8Array | undefined> {
    const { database } = this;
    if (!database) return undefined;
    let answer: Uint8Array;
    try {
      answer = await database.execProtocolRaw(messages);
    } catch (error) {
      // One that still runs must not have another beside it on the same files.
      const { name, message } = error as Error;
      if (name !== 'RuntimeError') throw error;
      this.die(database, message);
      return undefined;
    }
    const panic = panicOf(answer);
    if (panic !== undefined) this.die(database, panic);
    return answer;
  }

  async close(): Promise<void> {
    this.closing.abort();
    await this.reopening;
    await this.database?.close();
  }

  /** The dead one is let go as it is: not even its end comes to an end. */
  private die(database: PGlite, reason: string): void {
    if (this.database !== database) return;
    this.database = undefined;
    const { log = silent, report = () => undefined, onDeath } = this.options;
    log.error({ reason, folder: this.folder }, 'embedded database: it ended');
    report(`the database in ${this.folder} ended: ${reason}; it is opened again as soon as it can be`);
    onDeath();
    this.reopening = this.reopen().then(() => {
      if (this.database) report('the database runs again');
    });
  }

  private async reopen(): Promise<void> {
    const { signal } = this.closing;
    const backoff = new Backoff({ ...RETRY, clock: systemClock });
    while (!signal.aborted) {
      await backoff.wait(signal).catch(() => undefined);
      if (signal.aborted) return;
      try {
        if (!(await hasRoom(this.folder))) continue;
        this.database = await openDatabase(this.folder);
        return;
      } catch (err) {
        (this.options.log ?? silent).error({ err }, 'embedded database: not opened again');
      }
    }
  }
}
