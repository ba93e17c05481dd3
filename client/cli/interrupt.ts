import { constants } from 'node:os';
import { CliError } from './exit';
import { notIgnored } from './ignored-signals';

const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

/**
 * Runs work that has something to clean up. A signal aborts it, and once it has ended the failure is the signal's: exit code 128 and its number.
 * A second signal ends the program at once.
 */
export async function interruptible<T>(work: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const controller = new AbortController();
  let interrupted: CliError | undefined;
  const interrupt = (signal: NodeJS.Signals): void => {
    if (interrupted) process.exit(interrupted.exitCode);
    interrupted = new CliError(128 + constants.signals[signal], `ended by ${signal}`);
    controller.abort(interrupted);
  };
  const signals = notIgnored(SIGNALS);
  for (const signal of signals) process.on(signal, interrupt);
  try {
    return await work(controller.signal);
  } catch (error) {
    throw interrupted ?? error;
  } finally {
    for (const signal of signals) process.off(signal, interrupt);
  }
}
