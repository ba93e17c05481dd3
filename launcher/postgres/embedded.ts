import { access, chmod, mkdir, mkdtemp, rename, rm, unlink } from 'node:fs/promises';
import { createServer } from 'node:net';
import type { Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { lockFile } from '../../runtime/config/lock-file';
import { Backend, openDatabase } from './backend';
import { cannotConnectNow, classifyFirst, MessageSplitter, panicOf, ROLLBACK, SYNC, transactionState } from './wire';
import { silent } from '../../runtime/log/log';
import type { Logger } from '../../runtime/log/log';

interface EmbeddedPostgres {
  /** For `pg`: postgres://…?host=FOLDER. */
  url: string;
  stop(): Promise<void>;
}

/** A client that leaves a transaction open this long is cut off: everyone else waits for it. */
const IDLE_IN_TRANSACTION_MS = 10_000;

/** The socket's name is a convention of PostgreSQL's. */
export const SOCKET_NAME = '.s.PGSQL.5432';

/** For `pg`: the database that is served in this folder. */
export function urlAt(socketFolder: string): string {
  return `postgres://postgres@/postgres?host=${encodeURIComponent(socketFolder)}`;
}

/** Gives a turn to one caller after another. */
class Turns {
  private last: Promise<void> = Promise.resolve();

  /** @returns what ends the turn */
  async take(): Promise<() => void> {
    const before = this.last;
    let end!: () => void;
    this.last = new Promise((resolve) => (end = resolve));
    await before;
    return end;
  }
}

/**
 * Serves one client. The one backend is lent to it for as long as its transaction or extended query lasts, so that
 * clients are isolated from one another; between them it goes to whoever waits longest.
 */
async function serveClient(socket: Socket, backend: Backend, turns: Turns): Promise<void> {
  const splitter = new MessageSplitter();
  let batch: Buffer[] = [];
  let endTurn: (() => void) | undefined;
  let idle: NodeJS.Timeout | undefined;

  /** @returns false where the backend is no more */
  const execute = async (): Promise<boolean> => {
    clearTimeout(idle);
    endTurn ??= await turns.take();
    const answer = await backend.execute(Buffer.concat(batch));
    batch = [];
    const isDead = answer === undefined || panicOf(answer) !== undefined;
    if (socket.writable) socket.write(answer ?? cannotConnectNow('the database is being opened again'));
    if (isDead) return false;
    if (transactionState(answer) === 'I') {
      endTurn();
      endTurn = undefined;
    } else {
      idle = setTimeout(() => socket.destroy(), IDLE_IN_TRANSACTION_MS);
    }
    return true;
  };

  try {
    for await (const chunk of socket as AsyncIterable<Buffer>) {
      splitter.push(chunk);
      for (let message = splitter.next(); message; message = splitter.next()) {
        if (message.type === '') {
          const first = classifyFirst(message.bytes);
          if (first === 'encryption') socket.write('N');
          else if (first !== 'startup') return;
          else {
            splitter.typed = true;
            batch.push(message.bytes);
            if (!(await execute())) return;
          }
        } else if (message.type === 'X') {
          return;
        } else {
          batch.push(message.bytes);
          // Query, Sync, Flush, function call and the ends of a COPY wait for an answer; the rest belongs to what follows.
          if ('QSHFcf'.includes(message.type) && !(await execute())) return;
        }
      }
    }
  } finally {
    clearTimeout(idle);
    if (endTurn) {
      await backend.execute(SYNC);
      await backend.execute(ROLLBACK);
      endTurn();
    }
    socket.end();
    socket.destroySoon();
  }
}

/** Makes this process the only one that opens the database: two backends on the same files destroy them. The lock lies beside the folder, which is moved into its place. */
async function lockFolder(folder: string): Promise<{ release(): Promise<void> }> {
  const lock = await lockFile(`${folder}.lock`);
  if (!lock) throw new Error(`the database in ${folder} is open in another process`);
  return lock;
}

/**
 * Makes the database's files unless they are there. They are made beside the folder and moved into it when they are whole:
 * a start that was killed in the middle leaves nothing that a later one would trip over.
 */
async function initialize(folder: string): Promise<void> {
  const present = await access(join(folder, 'PG_VERSION')).then(
    () => true,
    () => false,
  );
  if (present) return;
  const fresh = `${folder}.new`;
  await rm(fresh, { recursive: true, force: true });
  await mkdir(fresh, { mode: 0o700 });
  const database = await openDatabase(fresh);
  await database.close();
  await rename(fresh, folder);
}

/**
 * Starts PostgreSQL inside this process (PGlite) and serves it on a unix socket for any number of local processes. It has
 * one backend: settings made by SET and named prepared statements are shared by all clients, so don't use them.
 * What was committed survives a killed process; after a power cut the last seconds may be lost, because PGlite has no fsync.
 * @param folder where the data is; made when it isn't there
 * @param socketFolder made with mode 0700: whoever can open the socket is the database's owner
 * @throws Error when another process has the folder open; LauncherError launcher.database
 */
export async function startEmbeddedPostgres(
  folder: string,
  socketFolder: string,
  { log = silent, report }: { log?: Logger; report?: (line: string) => void } = {},
): Promise<EmbeddedPostgres> {
  await mkdir(folder, { recursive: true, mode: 0o700 });
  await mkdir(socketFolder, { recursive: true, mode: 0o700 });
  await chmod(socketFolder, 0o700);
  const lock = await lockFolder(folder);
  const path = join(socketFolder, SOCKET_NAME);
  const sockets = new Map<Socket, Promise<void>>();
  const turns = new Turns();
  let backend: Backend | undefined;
  try {
    await initialize(folder);
    // Their sessions are gone with it: clients connect anew.
    const onDeath = (): void => void setImmediate(() => sockets.forEach((_served, socket) => socket.destroySoon()));
    const opened = (backend = await Backend.open(folder, { log, report, onDeath }));
    await unlink(path).catch(() => undefined);
    const server = createServer((socket) => {
      socket.on('error', () => socket.destroy());
      const served = serveClient(socket, opened, turns)
        .catch((err: NodeJS.ErrnoException) => {
          if (err.code !== 'ERR_STREAM_PREMATURE_CLOSE' && err.code !== 'ECONNRESET')
            log.warn({ err }, 'embedded database: client dropped');
        })
        .finally(() => sockets.delete(socket));
      sockets.set(socket, served);
    });
    await new Promise<void>((resolve, reject) => server.once('error', reject).listen(path, resolve));
    await chmod(path, 0o600);
    return {
      url: urlAt(socketFolder),
      async stop() {
        const closed = new Promise((resolve) => server.close(resolve));
        for (const socket of sockets.keys()) socket.destroy();
        await Promise.all([closed, ...sockets.values()]);
        await opened.close();
        await lock.release();
      },
    };
  } catch (error) {
    await backend?.close();
    await lock.release();
    throw error;
  }
}

/**
 * Works on the database in a folder that nobody else has open, served for this alone.
 * @throws as `startEmbeddedPostgres`, and what `work` throws
 */
export async function withEmbeddedPostgres<T>(folder: string, work: (url: string) => Promise<T>): Promise<T> {
  const sockets = await mkdtemp(join(tmpdir(), 'sls-'));
  try {
    const database = await startEmbeddedPostgres(folder, sockets);
    try {
      return await work(database.url);
    } finally {
      await database.stop();
    }
  } finally {
    await rm(sockets, { recursive: true, force: true });
  }
}
