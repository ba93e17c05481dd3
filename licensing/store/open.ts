import { readSettingText } from '../../runtime/config/listen';
import { RpcError } from '../../runtime/rpc/errors';
import { openDatabase } from './database';
import type { Database } from './database';
import { silent } from '../../runtime/log/log';
import type { Logger } from '../../runtime/log/log';
import type { Clock } from '../../runtime/clock';

/**
 * Opens a function's database by its settings and brings the schema up to date. A database that is away doesn't keep a function from serving: its calls
 * are answered UNAVAILABLE until the database is back, which restarting every replica would not bring about.
 * @throws ConfigError for an unfit file; MigrationError or pg's error when the database refuses the schema
 */
export async function openFunctionDatabase(
  settings: { DATABASE_URL_FILE: string; DATABASE_POOL: number },
  { program, log = silent, clock }: { program: string; log?: Logger; clock?: Clock },
): Promise<Database> {
  const url = (await readSettingText('DATABASE_URL_FILE', settings.DATABASE_URL_FILE)).trim();
  const database = openDatabase(url, {
    poolSize: settings.DATABASE_POOL,
    applicationName: `sls-${program}`,
    log,
    clock,
  });
  await database.prepare().catch((error: unknown) => {
    if (!(error instanceof RpcError)) throw error;
    log.warn({ code: error.code }, 'the database is away: serving without it until it is back');
  });
  return database;
}
