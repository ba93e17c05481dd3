import { spawn } from 'node:child_process';
import { constants } from 'node:os';
import { status } from '@grpc/grpc-js';
import { RpcError } from '../../runtime/rpc/errors';
import type { Command, CommandStart, Exit } from './command';

/** Starts a command with pipes, in a process group of its own. @throws RpcError `exec.failed` */
export async function startProcess({ file, argv, directory, env }: CommandStart): Promise<Command> {
  const child = spawn(file, argv.slice(1), { argv0: argv[0], cwd: directory, env, detached: true, stdio: 'pipe' });
  const { stdin, stdout, stderr } = child;
  // A command that ends without reading its input is no failure.
  stdin.on('error', () => undefined);
  const exited = new Promise<Exit>((resolve) => {
    child.once('exit', (code, signal) => {
      resolve(signal ? { code: 128 + constants.signals[signal], signal } : { code: code ?? 1, signal: '' });
    });
  });
  await new Promise<void>((resolve, reject) => {
    child.once('spawn', resolve);
    child.once('error', (cause: NodeJS.ErrnoException) => {
      reject(
        new RpcError('exec.failed', status.FAILED_PRECONDITION, `can't start the command: ${cause.code ?? 'unknown'}`, {
          cause,
        }),
      );
    });
  });
  return {
    group: child.pid as number,
    outputs: [
      { name: 'stdout', stream: stdout },
      { name: 'stderr', stream: stderr },
    ],
    write: (bytes) =>
      new Promise((resolve) => {
        if (stdin.destroyed || stdin.write(bytes)) return resolve();
        const done = (): void => {
          stdin.off('drain', done);
          stdin.off('close', done);
          resolve();
        };
        stdin.on('drain', done);
        stdin.on('close', done);
      }),
    endInput: () => stdin.end(),
    resize: () => undefined,
    exited,
  };
}
