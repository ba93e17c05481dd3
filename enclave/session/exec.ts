import { stat } from 'node:fs/promises';
import { constants } from 'node:os';
import { status } from '@grpc/grpc-js';
import type { ServerDuplexStream } from '@grpc/grpc-js';
import { RpcError } from '../../runtime/rpc/errors';
import { writeMessage } from '../../runtime/rpc/handlers';
import { CallReader } from '../../runtime/rpc/read-call';
import type { ExecRequest, ExecResponse, ExecStart } from '../../proto/gen/licensing/v1/session';
import type { Command } from './command';
import type { CommandNamespaces } from './command-namespaces';
import type { Commands } from './commands';
import { fileError, resolvePath } from './paths';
import { startProcess } from './process';
import { commandEnvironment, findProgram } from './program';
import { startTerminal } from './terminal';
import type { Clock } from '../../runtime/clock';
import type { EnclaveCode } from '../../errors/enclave';

type ExecCall = ServerDuplexStream<ExecRequest, ExecResponse>;

interface ExecOptions {
  workspace: string;
  commands: Commands;
  namespaces?: CommandNamespaces | undefined;
  /** Aborts when the call or its connection is gone: the command is killed. */
  signal: AbortSignal;
  /**
   * Asked once it is known what to run: a call may have been open for long before that. @throws RpcError where nothing may begin
   * @returns aborts when the command has to end while its caller is there: it is asked to, then killed, and what it still says arrives
   */
  begin(): AbortSignal;
  /** Told what the one who waits for the command has to know. */
  notices: Set<(text: string) => void>;
  clock: Clock;
}

/** Once a command has ended whose output nobody waits for any longer, that counts as ended after so long without a byte. */
const QUIET_MS = 250;
/** What a terminal in raw mode sends for Ctrl-C. */
const INTERRUPT = 0x03;

/**
 * Runs one command for one call and passes its input, output, signals and terminal size on. Both directions have backpressure: a command that
 * reads or writes slowly slows the other side, and memory stays flat. What a command leaves in the background belongs to it for as long as it
 * can write to its output, as with ssh: `detach` is for who doesn't want to wait for that.
 * @throws RpcError `exec.…`, `file.…`; `enclave.stopped` where the enclave ended it
 */
export async function exec(
  call: ExecCall,
  { workspace, commands, namespaces, signal, begin, notices, clock }: ExecOptions,
): Promise<void> {
  const requests = new CallReader(call, signal);
  const first = await requests.next();
  if (first?.input?.$case !== 'start') throw invalid('exec.stream', 'expected the start first');
  const over = begin();
  const command = await start(first.input.value, workspace, namespaces);
  const { detach, terminal } = first.input.value;
  commands.started(command.group);
  // Nobody reads what is still written.
  const stopReading = (): void => command.outputs.forEach(({ stream }) => void stream.destroy());
  const kill = (): void => {
    void commands.kill(command.group);
    stopReading();
  };
  if (signal.aborted) kill();
  else signal.addEventListener('abort', kill, { once: true });
  let endedByForce: () => void;
  const force = new Promise<void>((resolve) => (endedByForce = resolve));
  const end = (): void => void commands.kill(command.group).then(endedByForce);
  if (over.aborted) end();
  else over.addEventListener('abort', end, { once: true });

  const notify = (text: string): void =>
    void writeMessage(call, { output: { $case: 'stderr', value: Buffer.from(`sls: ${text}\n`) } }).catch(
      () => undefined,
    );
  notices.add(notify);

  let failure: unknown;
  let hasExited = false;
  const interrupted = (bytes: Buffer): void => {
    // Nobody is left at the terminal whom it could interrupt: it is meant for the waiting.
    if (hasExited && terminal && bytes.includes(INTERRUPT)) stopReading();
  };
  const input = feed(requests, command, commands, interrupted).catch((error: unknown) => {
    if (signal.aborted) return;
    failure = error;
    kill();
  });
  try {
    const activity = { last: clock.monotonic(), unread: false };
    const pumps = Promise.all(command.outputs.map((output) => pump(output, call, activity, clock)));
    const exit = await command.exited;
    hasExited = true;
    commands.exited(command.group);
    if (!detach) await Promise.race([pumps, force]);
    await untilQuiet(pumps, activity, clock);
    // What is left behind may go on writing. A terminal is closed, as it is by ssh.
    activity.unread = detach && !terminal;
    if (!activity.unread) {
      stopReading();
      await pumps;
    }
    if (failure !== undefined) throw failure;
    if (commands.wasStopped(command.group))
      throw new RpcError('enclave.stopped', status.UNAVAILABLE, 'the enclave was stopped while the command ran');
    await writeMessage(call, { output: { $case: 'exit', value: exit } });
  } finally {
    notices.delete(notify);
    signal.removeEventListener('abort', kill);
    over.removeEventListener('abort', end);
    commands.ended(command.group);
    void input;
  }
}

async function start(
  { argv, env, directory, terminal }: ExecStart,
  workspace: string,
  namespaces: CommandNamespaces | undefined,
): Promise<Command> {
  const [name] = argv;
  if (!name) throw invalid('exec.argv', 'expected a program to run, got none');
  const texts = [...argv, ...Object.entries(env).flat()];
  if (texts.some((text) => text.includes('\0')))
    throw invalid('exec.argv', 'expected arguments and variables without NUL');
  if (Object.keys(env).some((key) => key === '' || key.includes('=')))
    throw invalid('exec.env', "expected names of variables without '='");
  const folder = directory === '' ? workspace : resolvePath(workspace, directory);
  const info = await stat(folder).catch((error: unknown) => {
    throw fileError(error, directory);
  });
  if (!info.isDirectory()) throw fileError({ code: 'ENOTDIR' }, directory);
  const environment = commandEnvironment(env, workspace);
  const file = await findProgram(name, folder, environment['PATH'] ?? '');
  const options = { file, argv, directory: folder, env: environment };
  return terminal ? startTerminal(options, terminal, namespaces) : startProcess(options, namespaces);
}

/** Hands the client's messages to the command, until the client has no more. @param onInput told before the command */
async function feed(
  requests: CallReader<ExecRequest>,
  command: Command,
  commands: Commands,
  onInput: (bytes: Buffer) => void,
): Promise<void> {
  for (;;) {
    const request = await requests.next();
    const input = request?.input;
    switch (input?.$case) {
      case undefined:
        if (request === undefined) return command.endInput();
        throw invalid('exec.stream', 'expected an input, got an empty message');
      case 'stdin':
        onInput(input.value);
        await command.write(input.value);
        break;
      case 'stdinEnd':
        command.endInput();
        break;
      case 'signal':
        if (!(input.value in constants.signals))
          throw invalid('exec.signal', `expected the name of a signal, got ${JSON.stringify(input.value)}`);
        commands.signal(command.group, input.value as NodeJS.Signals);
        if (input.value === 'SIGCONT') command.resumed?.();
        break;
      case 'resize':
        command.resize(input.value.columns, input.value.rows);
        break;
      case 'start':
        throw invalid('exec.stream', 'expected one start, got another');
    }
  }
}

/** Of a command's output. */
interface Activity {
  /** When a piece was handed on last, by the monotonic clock. */
  last: number;
  /** What still comes goes nowhere: whoever writes it isn't ended by that. */
  unread: boolean;
}

async function pump(
  { name, stream }: Command['outputs'][number],
  call: ExecCall,
  activity: Activity,
  clock: Clock,
): Promise<void> {
  try {
    for await (const chunk of stream) {
      if (activity.unread) continue;
      // Later than any clock while the client has not taken it.
      activity.last = Infinity;
      await writeMessage(call, { output: { $case: name, value: chunk as Buffer } });
      activity.last = clock.monotonic();
    }
  } catch {
    // Destroyed: by the end of the call, or because it stayed quiet.
  }
}

async function untilQuiet(pumps: Promise<unknown>, activity: Activity, clock: Clock): Promise<void> {
  let ended = false;
  void pumps.then(() => (ended = true));
  const exitedAt = clock.monotonic();
  while (!ended && clock.monotonic() - Math.max(activity.last, exitedAt) < QUIET_MS)
    await Promise.race([pumps, clock.sleep(QUIET_MS / 5)]);
}

function invalid(code: EnclaveCode, message: string): RpcError {
  return new RpcError(code, status.INVALID_ARGUMENT, message);
}
