import { ConfigError, readEnvironment } from '../../runtime/config/environment';
import { createLogger, LOG_LEVELS } from '../../runtime/log/json';
import type { LogLevel } from '../../runtime/log/json';
import { silent } from '../../runtime/log/log';
import type { Logger } from '../../runtime/log/log';
import { z } from 'zod';
import { CliError, EXIT } from './exit';

const settings = z.object({ LOG_LEVEL: z.enum(LOG_LEVELS).optional() });

/**
 * The command line's own log: silent unless LOG_LEVEL asks for it, people read its messages instead.
 * @returns with the level that was asked for, for the programs that `sls up` starts
 * @throws CliError 2 for a level that is none
 */
export function openLog(): { log: Logger; level: LogLevel | undefined } {
  try {
    const { LOG_LEVEL: level } = readEnvironment(settings);
    return { log: level === undefined ? silent : createLogger({ program: 'sls', level }), level };
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    throw new CliError(EXIT.usage, error.message, {}, { cause: error });
  }
}
