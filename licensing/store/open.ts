import { settingFileError } from '../../runtime/config/environment';
import { readSettingText } from '../../runtime/config/listen';
import { RpcError } from '../../runtime/rpc/errors';
import { openDatabase } from './database';
import type { Database } from './database';
import { silent } from '../../runtime/log/log';
import type { Logger } from '../../runtime/log/log';
import type { Clock } from '../../runtime/clock';

/** Reads the one line of DATABASE_URL_FILE. @throws ConfigError, without the line: it holds a password */
export async function readDatabaseUrl({ DATABASE_URL_FILE }: { DATABASE_URL_FILE: string }): Promise<string> {
  const url = (await readSettingText('DATABASE_URL_FILE', DATABASE_URL_FILE)).trim();
  if (/^postgres(ql)?:\/\/\S*$/.test(url)) return url;
  throw settingFileError({ DATABASE_URL_FILE }, 'expected one line postgres://…, got something else');
}

/**
 * Opens a function's database and brings the schema up to date. A database that is away doesn't keep a function from serving: its calls
 * are answered UNAVAILABLE until the database is back, which restarting every replica would not bring about.
 * @throws MigrationError or pg's error when the database refuses the schema
 */
export async function openFunctionDatabase(
  url: string,
  { program, poolSize, log = silent, clock }: { program: string; poolSize: number; log?: Logger; clock?: Clock },
): Promise<Database> {
  const database = openDatabase(url, {
    poolSize,
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
