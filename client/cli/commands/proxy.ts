import { PassThrough, Writable } from 'node:stream';
import type { Command } from 'commander';
import { addEnclaveOption } from '../chosen-enclave';
import { addWaitOption, connectSaved } from '../connection';
import { parseTarget } from '../forward/places';
import { requireForwarding } from '../forward/unsupported';
import { interruptible } from '../interrupt';
import { addExample, addOutputOptions, addVerboseOption } from '../options';
import { Output } from '../output';
import type { OutputOptions } from '../output';
import { outputFailure } from '../standard-output';

interface Options extends OutputOptions {
  verbose?: boolean;
  wait?: number;
}

/** `sls proxy`: one connection to a port of the enclave on standard input and output, as ssh's ProxyCommand wants it. */
export function addProxy(program: Command): void {
  const command = program
    .command('proxy')
    .description('connect standard input and output to a port of your enclave')
    .argument('<port>', 'PORT, or the PATH of a unix socket');
  addEnclaveOption(addWaitOption(addVerboseOption(addOutputOptions(command, { json: false })))).action(run);
  addExample(command, "printf 'GET / HTTP/1.0\\r\\n\\r\\n' | sls proxy 8888");
}

async function run(text: string, options: Options): Promise<void> {
  const out = new Output(options);
  const target = parseTarget(text);
  // Taken here, where the connection is ended before the program is.
  process.stdout.on('error', () => undefined);
  await interruptible(async (signal) => {
    const connection = await connectSaved(out, { ...options, signal });
    try {
      await requireForwarding(connection);
      const input = process.stdin.pipe(new PassThrough());
      // Nobody at a terminal waits for the end of a connection that is closed at the other side; what a pipe still holds may be for it.
      const over = (): void => void (process.stdin.isTTY && input.end());
      await connection.forward(target, { input, output: standardOutput(over), signal }).catch((error: unknown) => {
        throw outputFailure(error);
      });
    } finally {
      await connection.end();
      process.stdin.destroy();
    }
  });
}

/** Others write there as well: the end is the connection's, and not that of standard output. */
function standardOutput(over: () => void): Writable {
  return new Writable({
    write(chunk: Buffer, _encoding, done) {
      process.stdout.write(chunk, done);
    },
    final(done) {
      over();
      done();
    },
  });
}
