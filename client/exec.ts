import { constants } from 'node:os';
import type { Readable, Writable } from 'node:stream';
import { status } from '@grpc/grpc-js';
import type { ClientDuplexStream } from '@grpc/grpc-js';
import { RpcError } from '../runtime/rpc/errors';
import { TracedCall } from '../runtime/rpc/trace';
import { SessionServiceService } from '../proto/gen/licensing/v1/session';
import type { ExecRequest, ExecResponse, SessionServiceClient, TerminalSize } from '../proto/gen/licensing/v1/session';

/** How a command ended. */
export interface CommandExit {
  /** Exit status, or 128 plus the signal's number. */
  code: number;
  /** POSIX name of the signal that ended the command, such as SIGKILL; empty if none did. */
  signal: string;
}

/** Controls a running command. */
export interface CommandControl {
  /** Tells the command's terminal its new size, in characters. */
  resize(size: TerminalSize): void;
  /** Sends a signal to the command and its children. @param name POSIX name, such as SIGINT */
  signal(name: string): void;
}

/** Streams and surroundings of a command. */
export interface ExecOptions {
  /** Read until it or the command ends; left open. */
  stdin: Readable;
  /** Left open. */
  stdout: Writable;
  /** Left open. */
  stderr: Writable;
  /** Environment variables to set. */
  env?: Record<string, string>;
  /** Working directory, relative to the workspace. Default: the workspace. */
  directory?: string;
  /** Runs the command in a terminal of this size, in characters; 0 by 0 if it is not known. All of its output then arrives on `stdout`. */
  terminal?: TerminalSize;
  /** Ends with the command, without what it left in the background and its output. Default: false, as with ssh. */
  detach?: boolean;
  /** Called once the call is open. */
  onStarted?: (control: CommandControl) => void;
  /** Kills the command when aborted; `exec` then rejects with an RpcError of status CANCELLED. */
  signal?: AbortSignal;
}

/** Bytes of one message, well below the enclave's limit. */
const PIECE_BYTES = 256 * 1024;
/** Input that the command does not read holds a signal up that was sent behind it; then the call is cut, which ends the command as well. */
const SIGNAL_PATIENCE_MS = 2_000;
const ENDING_SIGNALS = new Set(['SIGHUP', 'SIGINT', 'SIGQUIT', 'SIGTERM', 'SIGKILL']);

type ExecCall = ClientDuplexStream<ExecRequest, ExecResponse>;

/** @throws RpcError or ServiceError */
export async function runCommand(
  client: SessionServiceClient,
  argv: readonly string[],
  options: ExecOptions,
): Promise<CommandExit> {
  const { stdin, stdout, stderr, terminal, signal, env = {}, directory = '', detach = false } = options;
  const traced = new TracedCall(SessionServiceService.exec.path);
  const call = traced.follow(client.exec(traced.metadata));
  call.write({
    input: { $case: 'start', value: { argv: [...argv], env, directory, terminal, detach } },
  });
  const input = sendInput(stdin, call);
  const cancel = (): void => call.cancel();
  let timer: NodeJS.Timeout | undefined;
  try {
    return await new Promise<CommandExit>((resolve, reject) => {
      let exit: CommandExit | undefined;
      receiveOutput(call, { stdout, stderr }, reject, (value) => (exit = value));
      call.on('error', reject);
      call.on('end', () => {
        // Where the call failed, its error follows.
        setImmediate(() =>
          exit
            ? resolve(exit)
            : reject(new RpcError('exec.no_exit', status.UNAVAILABLE, 'the call ended without an exit status')),
        );
      });
      stdin.on('error', reject);
      if (signal?.aborted) cancel();
      else signal?.addEventListener('abort', cancel, { once: true });
      options.onStarted?.({
        resize: (size) => void call.write({ input: { $case: 'resize', value: size } }),
        signal: (name) => {
          call.write({ input: { $case: 'signal', value: name } });
          if (!ENDING_SIGNALS.has(name)) return;
          clearTimeout(timer);
          timer = setTimeout(() => input.isStalled() && resolve(endedBy(name)), SIGNAL_PATIENCE_MS);
        },
      });
    });
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener('abort', cancel);
    input.stop();
    // Nothing to do once it has ended by itself; otherwise this is what ends the command.
    call.on('error', () => undefined);
    call.cancel();
  }
}

function endedBy(name: string): CommandExit {
  return { code: 128 + constants.signals[name as NodeJS.Signals], signal: name };
}

interface Input {
  /** True while the command has not read what was sent before. */
  isStalled(): boolean;
  stop(): void;
}

/** Sends standard input as it comes, no faster than the command reads. */
function sendInput(stdin: Readable, call: ExecCall): Input {
  let stalled = false;
  let stopped = false;
  const data = (chunk: Buffer | string): void => {
    const bytes = typeof chunk === 'string' ? Buffer.from(chunk) : chunk;
    let room = true;
    for (let start = 0; start < bytes.length; start += PIECE_BYTES) {
      room = call.write({ input: { $case: 'stdin', value: bytes.subarray(start, start + PIECE_BYTES) } });
    }
    if (room || stalled) return;
    stalled = true;
    stdin.pause();
    call.once('drain', () => {
      stalled = false;
      if (!stopped) stdin.resume();
    });
  };
  const end = (): void => void call.write({ input: { $case: 'stdinEnd', value: {} } });
  const stop = (): void => {
    if (stopped) return;
    stopped = true;
    stdin.off('data', data);
    stdin.off('end', end);
    stdin.pause();
  };
  if (stdin.readableEnded) end();
  stdin.on('data', data);
  stdin.on('end', end);
  return { isStalled: () => stalled, stop };
}

function receiveOutput(
  call: ExecCall,
  outputs: { stdout: Writable; stderr: Writable },
  failed: (error: Error) => void,
  exited: (exit: CommandExit) => void,
): void {
  for (const output of Object.values(outputs)) output.on('error', failed);
  call.on('data', ({ output }: ExecResponse) => {
    if (output?.$case === 'exit') return exited(output.value);
    if (output === undefined) return;
    const target = outputs[output.$case];
    if (target.write(output.value)) return;
    call.pause();
    target.once('drain', () => call.resume());
  });
}
