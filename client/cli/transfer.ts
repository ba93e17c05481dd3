import { constants, createReadStream, createWriteStream, fstatSync } from 'node:fs';
import { mkdtemp, open, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Transform } from 'node:stream';
import type { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { CliError, EXIT } from './exit';
import type { Output } from './output';
import { wholeSource } from '../whole-source';
import { systemClock } from '../../runtime/clock';
import { namePath } from '../../runtime/name-path';

/** Smaller files are through before anyone could read a number. */
const SHOWN_FROM = 4 * 1024 * 1024;
const MODE_OF_STDIN = 0o644;

interface Source {
  stream: Readable;
  size: number;
  /** Permission bits. */
  mode: number;
  close(): Promise<void>;
}

/** Opens a local file, or standard input for `-`. */
export async function openSource(path: string, signal: AbortSignal): Promise<Source> {
  return path === '-' ? openStandardInput(signal) : openFile(path, () => Promise.resolve());
}

async function openFile(path: string, afterwards: () => Promise<void>): Promise<Source> {
  // Not to wait for who writes into a FIFO: as with scp, that is no file to copy.
  const file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK).catch((error: NodeJS.ErrnoException) => {
    throw new CliError(EXIT.failure, `can't read ${path}: ${error.code ?? error.message}`);
  });
  const { size, mode, ...kind } = await file
    .stat()
    .then((s) => ({ size: s.size, mode: s.mode & 0o777, regular: s.isFile(), folder: s.isDirectory() }));
  if (!kind.regular) {
    await file.close();
    throw new CliError(
      EXIT.failure,
      `expected ${path} to be a regular file, got ${kind.folder ? 'a folder' : 'a device, socket or pipe'}`,
      { hint: kind.folder ? `tar -c ${path} | sls exec -- tar -x` : `sls cp - enclave:NAME < ${path}` },
    );
  }
  const stream = wholeSource(file, size);
  return {
    stream,
    size,
    mode,
    async close() {
      stream.destroy();
      await file.close();
      await afterwards();
    },
  };
}

/** The enclave wants to know the size first. A pipe's is known at its end only: it goes through a private temporary file. */
async function openStandardInput(signal: AbortSignal): Promise<Source> {
  const info = fstatSync(0);
  if (info.isFile()) {
    const stream = createReadStream('', { fd: 0, autoClose: false });
    return { stream, size: info.size, mode: info.mode & 0o777, close: () => Promise.resolve() };
  }
  const folder = await mkdtemp(join(tmpdir(), 'sls-cp-'));
  const remove = (): Promise<void> => rm(folder, { recursive: true, force: true });
  try {
    const file = join(folder, 'stdin');
    const copy = createWriteStream(file, { mode: 0o600 });
    copy.on('error', (error) => void namePath(error, file));
    await pipeline(process.stdin, copy, { signal });
    const source = await openFile(file, remove);
    return { ...source, mode: MODE_OF_STDIN };
  } catch (error) {
    await remove();
    throw error;
  }
}

/** The local file to write: `to` itself, or `name` inside it when it is a folder. */
export async function localTarget(to: string, name: string): Promise<string> {
  const isFolder = await stat(to).then(
    (info) => info.isDirectory(),
    () => to.endsWith('/'),
  );
  return isFolder ? join(to, name) : to;
}

/** Counts what passes, and shows it for large files. */
export function countBytes(source: Readable, size: number, out: Output): { stream: Readable; count(): number } {
  let passed = 0;
  let shown = 0;
  const counter = new Transform({
    transform(chunk: Buffer, _encoding, done) {
      passed += chunk.length;
      if (size >= SHOWN_FROM && systemClock.now() - shown > 200) {
        shown = systemClock.now();
        out.counter(`${Math.min(100, Math.floor((passed / size) * 100))} % of ${(size / 1048576).toFixed(1)} MiB`);
      }
      done(null, chunk);
    },
  });
  source.on('error', (error) => counter.destroy(error));
  return { stream: source.pipe(counter), count: () => passed };
}
