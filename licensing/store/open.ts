import { readSettingFile } from '../../runtime/config/listen';
import { logger } from '../../runtime/log/logger';
import { RpcError } from '../../runtime/rpc/errors';
import { openDatabase } from './database';
import type { Database } from './database';

/**
 * Opens a function's database by its settings and brings the schema up to date. A database that is away doesn't keep a function from serving: its calls
 * are answered UNAVAILABLE until the database is back, which restarting every replica would not bring about.
 * @throws ConfigError for an unfit file; MigrationError or pg's error when the database refuses the schema
 */
export async function openFunctionDatabase(
  settings: { DATABASE_URL_FILE: string; DATABASE_POOL: number },
  program: string,
): Promise<Database> {
  const url = (await readSettingFile('DATABASE_URL_FILE', settings.DATABASE_URL_FILE)).toString('utf8').trim();
  const database = openDatabase(url, { poolSize: settings.DATABASE_POOL, applicationName: `sls-${program}` });
  await database.prepare().catch((error: unknown) => {
    if (!(error instanceof RpcError)) throw error;
    logger.warn({ code: error.code }, 'the database is away: serving without it until it is back');
  });
  return database;
}
