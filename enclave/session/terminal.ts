import { closeSync, constants as files, openSync, readSync } from 'node:fs';
import { constants } from 'node:os';
import { Readable } from 'node:stream';
import { ReadStream } from 'node:tty';
import { requireBinary } from '@lydell/node-pty/requireBinary.js';
import type { TerminalSize } from '../../proto/gen/licensing/v1/session';
import type { Command, CommandStart, Exit } from './command';
import type { CommandNamespaces } from './command-namespaces';
import { exitOf } from './process';

/** End of transmission (Ctrl-D): how a terminal says that input is at its end, at the beginning of a line. Elsewhere it only hands over what was typed. */
const EOT = 0x04;
/** What a line ends with, as a terminal takes it: then it is handed over already. */
const LINE_ENDS = new Set([0x0a, 0x0d, EOT]);
/** More than a terminal holds. */
const REST_BYTES = 64 * 1024;
/** As who runs this. */
const SAME_ID = -1;

// Its JavaScript is left aside: it closes a terminal 200 ms after the command, whatever else writes to it, and takes no size of zero.
const pty = requireBinary('pty.node');

/** Zero, which means that nobody knows it, is passed on as ssh does; a huge one helps nobody. */
function cells(count: number): number {
  return Math.min(count, 0xffff);
}

/** Starts a command on a pseudo-terminal, as the leader of a session and process group of its own. */
export async function startTerminal(
  command: CommandStart,
  size: TerminalSize,
  namespaces?: CommandNamespaces,
): Promise<Command> {
  const { directory, env } = command;
  const start = { ...command, env: { TERM: 'xterm-256color', ...env, PWD: directory } };
  const { fd, group, exited, resumed } =
    namespaces === undefined ? forkHere(start, size) : await forkInside(start, size, namespaces);
  // Half open: it is closed once the rest is read, see `outputOf`.
  const master = new Master(fd, exited);
  const output = outputOf(master, fd);
  let inLine = false;
  return {
    group,
    outputs: [{ name: 'stdout', stream: output }],
    write: (bytes) => {
      const last = bytes.at(-1);
      if (last === undefined || master.destroyed) return Promise.resolve();
      inLine = !LINE_ENDS.has(last);
      return written(master, bytes);
    },
    endInput: () => {
      if (!master.destroyed) master.write(Buffer.from(inLine ? [EOT, EOT] : [EOT]));
    },
    resize: (columns, rows) => {
      if (!master.destroyed) pty.resize(fd, cells(columns), cells(rows));
    },
    exited,
    ...(resumed && { resumed }),
  };
}

interface Forked {
  /** Our side of the terminal. */
  fd: number;
  group: number;
  exited: Promise<Exit>;
  resumed?(): void;
}

function forkHere({ file, argv, directory, env }: CommandStart, size: TerminalSize): Forked {
  let exit: (value: Exit) => void;
  const exited = new Promise<Exit>((resolve) => (exit = resolve));
  const { fd, pid } = pty.fork(
    file,
    argv.slice(1),
    Object.entries(env).map(([name, value]) => `${name}=${value}`),
    directory,
    cells(size.columns),
    cells(size.rows),
    SAME_ID,
    SAME_ID,
    false,
    '',
    (code, signal) => exit(signal ? { code: 128 + signal, signal: signalName(signal) } : { code, signal: '' }),
  );
  return { fd, group: pid, exited };
}

/** The command itself has to lead the terminal's session, for its numbers are others in there: so the terminal is opened first, and is nobody's until then. */
async function forkInside(start: CommandStart, size: TerminalSize, namespaces: CommandNamespaces): Promise<Forked> {
  const { master, slave, pty: path } = pty.open(cells(size.columns), cells(size.rows));
  // Opened anew: node-pty's own doesn't block, which a command that shares it would not expect.
  const inner = openSync(path, files.O_RDWR | files.O_NOCTTY);
  closeSync(slave);
  try {
    const { child, group } = await namespaces.start(start, { stdio: [inner, inner, inner], terminal: true });
    return { fd: master, group, exited: exitOf(child), resumed: () => void child.kill('SIGCONT') };
  } catch (error) {
    closeSync(master);
    throw error;
  } finally {
    closeSync(inner);
  }
}

/** Our side of a terminal. Closing it hangs up: a command that has closed its own side, as cat does before it exits, would end by SIGHUP and not by its status. */
class Master extends ReadStream {
  constructor(
    fd: number,
    private readonly exited: Promise<unknown>,
  ) {
    super(fd, { allowHalfOpen: true });
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    void this.exited.then(() => super._destroy(error, done));
  }
}

/** What is written to the terminal, until nobody has it open any more: reading then fails with EIO (pty(7)). */
function outputOf(master: ReadStream, fd: number): Readable {
  const output = new Readable({
    read: () => void master.resume(),
    destroy: (error, done) => {
      master.destroy();
      done(error);
    },
  });
  master.on('data', (bytes: Buffer) => {
    if (!output.push(bytes)) master.pause();
  });
  master.once('end', () => {
    for (const bytes of rest(fd)) output.push(bytes);
    master.destroy();
  });
  master.on('error', () => undefined);
  master.once('close', () => output.push(null));
  return output;
}

/** libuv takes a hangup for the end after any read that did not fill its buffer, which is each one of a terminal: a few pages of output are left. */
function* rest(fd: number): Generator<Buffer> {
  for (;;) {
    const bytes = Buffer.alloc(REST_BYTES);
    try {
      const length = readSync(fd, bytes);
      if (length === 0) return;
      yield bytes.subarray(0, length);
    } catch {
      return;
    }
  }
}

function written(master: ReadStream, bytes: Buffer): Promise<void> {
  // A ReadStream of a terminal is a socket, and writes as well.
  if (master.write(bytes)) return Promise.resolve();
  return new Promise((resolve) => {
    const done = (): void => {
      master.off('drain', done);
      master.off('close', done);
      resolve();
    };
    master.on('drain', done);
    master.on('close', done);
  });
}

function signalName(number: number): string {
  return Object.entries(constants.signals).find(([, value]) => value === number)?.[0] ?? `SIG${number}`;
}
