import type { Command } from 'commander';
import { basename } from 'node:path';
import { addEnclaveOption } from '../chosen-enclave';
import { addWaitOption, connectSaved } from '../connection';
import { CliError, EXIT, isBrokenPipe, isSystemError } from '../exit';
import { interruptible } from '../interrupt';
import { addExample, addOutputOptions, addVerboseOption } from '../options';
import { Output } from '../output';
import { outputFailure } from '../standard-output';
import type { OutputOptions } from '../output';
import { countBytes, localTarget, openSource } from '../transfer';

interface Options extends OutputOptions {
  verbose?: boolean;
  wait?: number;
}

type Transfer = Options & { signal: AbortSignal };

const REMOTE = 'enclave:';

/** `sls cp`: one file into the enclave or out of it, with its mode. A failure leaves no half file at either end. */
export function addCp(program: Command): void {
  const command = program
    .command('cp')
    .description('copy a file into your enclave or out of it')
    .argument('<from>', 'PATH, enclave:PATH, or - for standard input')
    .argument('<to>', 'PATH, enclave:PATH, or - for standard output');
  addEnclaveOption(addWaitOption(addVerboseOption(addOutputOptions(command)))).action(run);
  addExample(command, 'sls cp model.bin enclave:model.bin', 'sls cp enclave:result.csv - | head');
}

async function run(from: string, to: string, options: Options): Promise<void> {
  const out = new Output(options);
  if (from.startsWith(REMOTE) === to.startsWith(REMOTE)) {
    throw new CliError(EXIT.usage, 'expected one side to be enclave:PATH and the other one to be a local path', {
      hint: 'sls cp model.bin enclave:model.bin',
    });
  }
  await interruptible((signal) =>
    from.startsWith(REMOTE)
      ? download(from.slice(REMOTE.length), to, out, { ...options, signal })
      : upload(from, to.slice(REMOTE.length), out, { ...options, signal }),
  );
}

async function upload(from: string, path: string, out: Output, { verbose, wait, signal }: Transfer): Promise<void> {
  const target = path === '' || path.endsWith('/') ? `${path}${from === '-' ? '' : basename(from)}` : path;
  if (target === '' || target.endsWith('/'))
    throw new CliError(EXIT.usage, 'expected a name for the file: enclave:NAME');
  // Before the connection: what can't be read is told at once.
  const source = await openSource(from, signal);
  try {
    const connection = await connectSaved(out, { verbose, wait, signal });
    const cut = (): void => connection.close();
    signal.addEventListener('abort', cut);
    // It may have come while the connection was made.
    if (signal.aborted) cut();
    try {
      const { stream, count } = countBytes(source.stream, source.size, out);
      await connection.putFile(Object.assign(stream, { mode: source.mode, size: source.size }), target);
      out.finish();
      out.result({ path: target, size: count() }, []);
    } finally {
      await connection.end();
    }
  } finally {
    await source.close();
  }
}

async function download(path: string, to: string, out: Output, { verbose, wait, signal }: Transfer): Promise<void> {
  if (path === '' || path.endsWith('/')) throw new CliError(EXIT.usage, 'expected the name of a file: enclave:NAME');
  const target = to === '-' || to === '/dev/stdout' ? '-' : await localTarget(to, basename(path));
  // Taken here, where the connection is ended before the program is.
  if (target === '-') process.stdout.on('error', () => undefined);
  const connection = await connectSaved(out, { verbose, wait, signal });
  const cut = (): void => connection.close();
  signal.addEventListener('abort', cut);
  if (signal.aborted) cut();
  try {
    await connection.getFile(path, target === '-' ? process.stdout : target, { signal }).catch((error: unknown) => {
      throw target === '-' ? outputFailure(error) : localFailure(error, target);
    });
    out.finish();
    if (target !== '-') out.result({ path: target }, []);
  } finally {
    await connection.end();
  }
}

/** What the system says about the local file, about the path as it was given; whoever closed the other end of a pipe is no failure. */
function localFailure(error: unknown, target: string): unknown {
  if (!isSystemError(error) || isBrokenPipe(error)) return error;
  return new CliError(EXIT.failure, `can't write ${target}: ${error.code}`, { code: error.code }, { cause: error });
}
