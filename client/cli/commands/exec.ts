import { Readable } from 'node:stream';
import type { Command } from 'commander';
import { RpcError } from '../../index';
import type { EnclaveConnection } from '../../index';
import { addEnclaveOption } from '../chosen-enclave';
import { addWaitOption, connectSaved } from '../connection';
import { CliError, EXIT } from '../exit';
import { addExample, addOutputOptions, addVerboseOption } from '../options';
import { Output } from '../output';
import type { OutputOptions } from '../output';
import { forwardSignals, LocalTerminal } from '../terminal';

/** As shells have it: no such command, and one that can't be run. */
const SHELL_CODES: Record<string, number> = { 'exec.not_found': 127, 'exec.not_executable': 126 };

/** The seat is given back within 2 seconds, or not by us. */
const END_PATIENCE_MS = 4_000;

interface Options extends OutputOptions {
  tty?: boolean;
  stdin: boolean;
  detach?: boolean;
  env?: string[];
  directory?: string;
  verbose?: boolean;
  wait?: number;
}

/** `sls exec`: runs a command in the enclave, with the terminal's or the pipe's streams, and ends with its exit status. */
export function addExec(program: Command): void {
  const command = program
    .command('exec')
    .description('run a command in your enclave, and exit with its status')
    .argument('<command>', 'program to run, without a shell')
    .argument('[arguments...]')
    .passThroughOptions()
    .option('-t, --tty', 'give the command a terminal (default: when standard input and output are terminals)')
    .option('-T, --no-tty', 'give the command no terminal')
    .option('-n, --no-stdin', 'leave standard input to whoever else reads it, such as a loop around this')
    .option('-e, --env <name=value>', 'set an environment variable; repeatable', collect)
    .option('-C, --directory <path>', 'working directory, relative to the workspace')
    .option('--detach', 'end with the command, without the output of what it left in the background');
  addEnclaveOption(addWaitOption(addVerboseOption(addOutputOptions(command, { json: false })))).action(run);
  addExample(command, 'sls exec -- sha256sum - < thesis.pdf', 'sls exec sh');
}

function collect(value: string, before: string[] = []): string[] {
  return [...before, value];
}

async function run(program: string, rest: string[], options: Options): Promise<void> {
  const out = new Output(options);
  const env = Object.fromEntries((options.env ?? []).map(parseVariable));
  const stdin = options.stdin ? process.stdin : Readable.from([]);
  const terminal = new LocalTerminal({ wanted: options.tty, input: options.stdin });
  const ending = new Ending();
  const signals = forwardSignals(ending.end, terminal);
  let connection: EnclaveConnection | undefined;
  try {
    connection = await connectSaved(out, {
      verbose: options.verbose,
      wait: options.wait,
      signal: ending.signal,
    });
    const { code } = await connection.exec([program, ...rest], {
      stdin,
      stdout: process.stdout,
      stderr: process.stderr,
      env: terminal.wanted && process.env['TERM'] ? { TERM: process.env['TERM'], ...env } : env,
      directory: options.directory,
      terminal: terminal.size(),
      detach: options.detach,
      signal: ending.signal,
      onStarted: (control) => {
        terminal.attach(control.resize);
        signals.deliverTo(control.signal);
      },
    });
    process.exitCode = code;
  } catch (error) {
    if (ending.exitCode === undefined) throw shellFailure(error);
    process.exitCode = ending.exitCode;
  } finally {
    terminal.restore();
    // It ends what runs and gives the seat back, however this program ends.
    await connection?.end();
    signals.stop();
    stdin.destroy();
  }
}

/** The end of this program by a signal: what was begun is ended first, unless that takes long or somebody asks again. */
class Ending {
  exitCode: number | undefined;
  private readonly aborting = new AbortController();

  get signal(): AbortSignal {
    return this.aborting.signal;
  }

  readonly end = (exitCode: number): void => {
    if (this.exitCode !== undefined) process.exit(exitCode);
    this.exitCode = exitCode;
    this.aborting.abort();
    setTimeout(() => process.exit(exitCode), END_PATIENCE_MS).unref();
  };
}

function shellFailure(error: unknown): unknown {
  if (!(error instanceof RpcError)) return error;
  const { code, message } = error;
  const exitCode = SHELL_CODES[code];
  return exitCode === undefined ? error : new CliError(exitCode, message, { code }, { cause: error });
}

function parseVariable(text: string): [string, string] {
  const at = text.indexOf('=');
  if (at < 1) throw new CliError(EXIT.usage, `expected --env NAME=VALUE, got ${JSON.stringify(text)}`);
  return [text.slice(0, at), text.slice(at + 1)];
}
