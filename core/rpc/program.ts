import { ConfigError } from '../config/environment';
import { logger } from '../log/logger';

/**
 * Runs a service until SIGTERM or SIGINT, then stops it. Exit codes: 0 stopped, 1 failed, 2 settings are wrong.
 * `start` returns what stops the service.
 */
export function runProgram(start: () => Promise<() => Promise<void>>): void {
  const fail = (error: unknown): never => {
    logger.fatal(error instanceof ConfigError ? { code: error.code, reason: error.message } : { err: error }, 'cannot go on');
    process.exit(error instanceof ConfigError ? 2 : 1);
  };
  process.on('unhandledRejection', fail);
  start().then((stop) => {
    let stopping = false;
    const end = (signal: string): void => {
      if (stopping) return;
      stopping = true;
      logger.debug({ signal }, 'stopping');
      stop().then(() => process.exit(0), fail);
    };
    process.on('SIGTERM', end);
    process.on('SIGINT', end);
  }, fail);
}
