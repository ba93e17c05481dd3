import { CliError, EXIT, isBrokenPipe, isSystemError } from './exit';

/** What was written, until it is there. */
let pending: Promise<unknown> = Promise.resolve();
/** The first failure. */
let failure: Error | undefined;

/** The one place that writes results. What can't be written is told by `outputWritten`, which the program waits for before it ends. */
export function writeOutput(text: string): void {
  const written = new Promise<void>((resolve) => {
    process.stdout.write(text, (error) => {
      failure ??= error ?? undefined;
      resolve();
    });
  });
  pending = Promise.all([pending, written]);
}

/** Takes failures of what a command streams there by itself. */
export function watchOutput(): void {
  process.stdout.on('error', (error) => (failure ??= error));
}

/** All that was written is there. @throws CliError 1 with the system's reason; what the system says where the reader has ended (EPIPE) */
export async function outputWritten(): Promise<void> {
  await pending;
  if (failure) throw outputFailure(failure);
}

/** What a command threw because its output could not be written, in words; anything else as it is. */
export function outputFailure(error: unknown): unknown {
  if (error !== failure || isBrokenPipe(error)) return error;
  const code = isSystemError(error) ? error.code : undefined;
  const reason = code ?? (error as Error).message;
  return new CliError(EXIT.failure, `can't write to standard output: ${reason}`, { code }, { cause: error });
}
