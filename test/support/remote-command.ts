import { PassThrough } from 'node:stream';
import type { CommandControl, CommandExit, EnclaveConnection, ExecOptions } from '../../client/index';
import { eventually } from './eventually';

/** A command that was started in an enclave. */
export interface RemoteCommand {
  exit: Promise<CommandExit>;
  control: CommandControl;
  stdin: PassThrough;
  output: { stdout: string; stderr: string };
  /** Resolves once standard output holds the text. */
  shows(text: string): Promise<void>;
}

/** Starts a command whose input is left open. */
export function startCommand(
  connection: EnclaveConnection,
  argv: string[],
  options: Partial<ExecOptions> = {},
): RemoteCommand {
  const stdin = new PassThrough();
  const [stdout, stderr] = [new PassThrough(), new PassThrough()];
  const output = { stdout: '', stderr: '' };
  stdout.on('data', (chunk: Buffer) => (output.stdout += String(chunk)));
  stderr.on('data', (chunk: Buffer) => (output.stderr += String(chunk)));
  let control: CommandControl | undefined;
  const exit = connection.exec(argv, { stdin, stdout, stderr, onStarted: (value) => (control = value), ...options });
  exit.catch(() => undefined);
  const shows = async (text: string): Promise<void> => {
    await eventually(
      () => output.stdout.includes(text),
      () => `expected ${text}, got ${output.stdout}`,
    );
  };
  return { exit, control: control as CommandControl, stdin, output, shows };
}

/** Runs a command without input to its end. */
export async function runCommand(
  connection: EnclaveConnection,
  argv: string[],
  options: Partial<ExecOptions> = {},
): Promise<CommandExit & { stdout: string; stderr: string }> {
  const running = startCommand(connection, argv, options);
  running.stdin.end();
  return { ...(await running.exit), ...running.output };
}

/** Whether there is such a process on this machine. */
export function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}
