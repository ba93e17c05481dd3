import { spawn } from 'node:child_process';
import type { ChildProcess, ChildProcessWithoutNullStreams } from 'node:child_process';
import { constants } from 'node:os';
import { status } from '@grpc/grpc-js';
import { RpcError } from '../../runtime/rpc/errors';
import type { Command, CommandStart, Exit } from './command';
import type { CommandNamespaces } from './command-namespaces';

/** Starts a command with pipes, in a process group of its own. @throws RpcError `exec.failed` */
export async function startProcess(start: CommandStart, namespaces?: CommandNamespaces): Promise<Command> {
  const { child, group } = await (namespaces?.start(start, { stdio: ['pipe', 'pipe', 'pipe'], terminal: false }) ??
    spawnHere(start));
  const { stdin, stdout, stderr } = child as ChildProcessWithoutNullStreams;
  // A command that ends without reading its input is no failure.
  stdin.on('error', () => undefined);
  return {
    group,
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
    exited: exitOf(child),
    // What waits for a command that stops, stops with it.
    ...(namespaces && { resumed: () => void child.kill('SIGCONT') }),
  };
}

async function spawnHere({
  file,
  argv,
  directory,
  env,
}: CommandStart): Promise<{ child: ChildProcess; group: number }> {
  const child = spawn(file, argv.slice(1), { argv0: argv[0], cwd: directory, env, detached: true, stdio: 'pipe' });
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
  return { child, group: child.pid as number };
}

/** How it ends, or has ended. */
export function exitOf(child: ChildProcess): Promise<Exit> {
  return new Promise((resolve) => {
    const ended = (code: number | null, signal: NodeJS.Signals | null): void =>
      resolve(signal ? { code: 128 + constants.signals[signal], signal } : { code: code ?? 1, signal: '' });
    if (child.exitCode !== null || child.signalCode !== null) ended(child.exitCode, child.signalCode);
    else child.once('exit', ended);
  });
}
