import { constants } from 'node:os';
import { Readable } from 'node:stream';
import { spawn } from '@lydell/node-pty';
import type { TerminalSize } from '../../proto/gen/licensing/v1/session';
import type { Command, CommandStart, Exit } from './command';

/** End of transmission (Ctrl-D): how a terminal says that input is at its end. */
const EOT = '\x04';

/** Zero would be refused by the terminal, and a huge one helps nobody. */
function cells(count: number): number {
  return Math.min(Math.max(count, 1), 0xffff);
}

/** Starts a command on a pseudo-terminal, as the leader of a session and process group of its own. */
export function startTerminal({ file, argv, directory, env }: CommandStart, size: TerminalSize): Command {
  const pty = spawn(file, argv.slice(1), {
    name: env['TERM'] ?? 'xterm-256color',
    cols: cells(size.columns),
    rows: cells(size.rows),
    cwd: directory,
    env,
    encoding: null,
  });
  const output = new Readable({ read: () => pty.resume() });
  let ended = false;
  // Its type says string; without an encoding it is bytes.
  pty.onData((data) => {
    if (!output.push(data as unknown as Buffer)) pty.pause();
  });
  const exited = new Promise<Exit>((resolve) => {
    pty.onExit(({ exitCode, signal }) => {
      ended = true;
      output.push(null);
      resolve(signal ? { code: 128 + signal, signal: signalName(signal) } : { code: exitCode, signal: '' });
    });
  });
  return {
    group: pty.pid,
    outputs: [{ name: 'stdout', stream: output }],
    write: (bytes) => {
      if (!ended) pty.write(bytes as unknown as string);
      return Promise.resolve();
    },
    endInput: () => {
      if (!ended) pty.write(EOT);
    },
    resize: (columns, rows) => {
      if (!ended) pty.resize(cells(columns), cells(rows));
    },
    exited,
  };
}

function signalName(number: number): string {
  return Object.entries(constants.signals).find(([, value]) => value === number)?.[0] ?? `SIG${number}`;
}
