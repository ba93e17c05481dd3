import { basename } from 'node:path';
import { ConfigError, readEnvironment } from '../config/environment';
import { logger } from '../log/logger';
import { openTraces, tracesSettings } from '../traces/settings';
import { watchParent } from './parent';

/** How long a service may take to stop once whoever started it is gone. */
const ORPHAN_GRACE_MS = 5_000;

/**
 * Runs a service until SIGTERM, SIGINT or the end of its parent (`watchParent`), then stops it.
 * Exit codes: 0 stopped, 1 failed, 2 settings are wrong. `start` returns what stops the service.
 */
export function runProgram(start: () => Promise<() => Promise<void>>): void {
  const fail = (error: unknown): never => {
    logger.fatal(
      error instanceof ConfigError ? { code: error.code, reason: error.message } : { err: error },
      'cannot go on',
    );
    process.exit(error instanceof ConfigError ? 2 : 1);
  };
  process.on('unhandledRejection', fail);
  // Without a listener this signal opens Node's debugger, and with it the program's memory, to any process of the same user.
  process.on('SIGUSR1', () => logger.warn({ signal: 'SIGUSR1' }, 'ignored'));
  // Until it serves, there is nothing to stop in order.
  let orphaned = (): void => process.exit(1);
  watchParent(() => orphaned());
  let flush = (): Promise<void> => Promise.resolve();
  const begin = async (): Promise<() => Promise<void>> => {
    flush = openTraces(
      readEnvironment(tracesSettings),
      process.env['SLS_PROGRAM'] ?? basename(process.argv[1] ?? 'sls', '.cjs'),
    );
    return start();
  };
  begin().then((stop) => {
    let stopping = false;
    const end = (signal: string): void => {
      if (stopping) return;
      stopping = true;
      logger.debug({ signal }, 'stopping');
      stop()
        .then(flush)
        .then(() => process.exit(0), fail);
    };
    process.on('SIGTERM', end);
    process.on('SIGINT', end);
    orphaned = () => {
      setTimeout(() => process.exit(1), ORPHAN_GRACE_MS).unref();
      end('parent');
    };
  }, fail);
}
