import { withConnection } from '../store/connection';
import type { Transactions } from '../store/connection';
import { beginAnew } from './begin-anew';
import type { Restored } from './begin-anew';
import { migrate } from '../store/migrate';
import { migrations } from '../store/migrations';
import type { Queries } from '../store/queries';
import { BackupError } from './errors';
import { quoted, tablesOf } from './tables';
import type { TableRows } from './tables';

/** Rows that are written by one statement. */
const PAGE = 500;

/** @throws BackupError backup.newer where a release that this one does not know has made the schema */
export function requireKnownSchema(names: readonly string[]): void {
  const known = new Set(migrations.map(({ name }) => name));
  const later = names.find((name) => !known.has(name));
  if (later !== undefined)
    throw new BackupError(
      'backup.newer',
      `expected a backup of this release or an earlier one, got one with the schema of a later release (${later})`,
      'restore it with the sls of that release',
    );
}

/**
 * Restores a dump into an empty database, and ends what must not come back with it.
 * @param url of the database's owner
 * @returns how many sessions ended
 * @throws BackupError backup.newer, backup.database_in_use, backup.malformed; pg's errors
 */
export function restoreDatabase(
  url: string,
  dump: { migrations: readonly string[]; tables: AsyncIterable<TableRows> },
  restored: Restored,
): Promise<number> {
  return withConnection(url, 'sls-restore', async (connection) => {
    await loadDatabase(connection, dump.migrations, dump.tables);
    return beginAnew(connection, restored);
  });
}

/**
 * Fills an empty database with a dump: the schema as it was then, its rows, and after them the steps that the schema lacks. All rows or none.
 * @param connection the owner's, without a limit of time
 * @param names of the dump's migrations
 * @throws BackupError backup.newer, backup.database_in_use, backup.malformed; pg's errors
 */
async function loadDatabase(
  connection: Transactions,
  names: readonly string[],
  tables: AsyncIterable<TableRows>,
): Promise<void> {
  requireKnownSchema(names);
  await requireEmpty(connection);
  const then = migrations.filter(({ name }) => names.includes(name));
  await migrate(connection, then);
  await connection.transaction(async (queries) => {
    const known = (await tablesOf(queries)).map(({ name }) => name);
    // Rows that the schema's own steps have put there: the dump has them as they became. No trigger sees what is put back: it is history.
    for (const name of known) await queries.query(`ALTER TABLE ${quoted(name)} DISABLE TRIGGER USER`);
    for (const name of [...known].reverse()) await queries.query(`DELETE FROM ${quoted(name)}`);
    for await (const { name, rows } of tables) {
      if (!known.includes(name))
        throw new BackupError(
          'backup.malformed',
          `expected a table of the schema, got ${JSON.stringify(name.slice(0, 80))}`,
        );
      await loadRows(queries, name, rows);
      await advanceSequences(queries, name);
    }
    for (const name of known) await queries.query(`ALTER TABLE ${quoted(name)} ENABLE TRIGGER USER`);
  });
  await migrate(connection, migrations);
}

/** A database that holds anything is somebody's. */
async function requireEmpty(queries: Queries): Promise<void> {
  const [first] = await tablesOf(queries);
  if (first)
    throw new BackupError(
      'backup.database_in_use',
      `expected an empty database to restore into, got one with the table ${first.name}`,
      'make a new database, and name it with --database-url-file',
    );
}

async function loadRows(queries: Queries, table: string, rows: TableRows['rows']): Promise<void> {
  let page: string[] = [];
  const write = async (): Promise<void> => {
    if (page.length === 0) return;
    const name = quoted(table);
    await queries.query(
      `INSERT INTO ${name} OVERRIDING SYSTEM VALUE SELECT * FROM jsonb_populate_recordset(NULL::${name}, $1::jsonb)`,
      [`[${page.join(',')}]`],
    );
    page = [];
  };
  for await (const row of rows) {
    page.push(row);
    if (page.length === PAGE) await write();
  }
  await write();
}

/** What numbers new rows goes on after those that are there. */
async function advanceSequences(queries: Queries, table: string): Promise<void> {
  const columns = await queries.query<{ name: string; sequence: string }>(
    `SELECT a.attname AS name, pg_get_serial_sequence($1, a.attname) AS sequence FROM pg_attribute a
     WHERE a.attrelid = $1::regclass AND a.attnum > 0 AND NOT a.attisdropped AND pg_get_serial_sequence($1, a.attname) IS NOT NULL`,
    [quoted(table)],
  );
  for (const { name, sequence } of columns)
    await queries.query(
      `SELECT setval($1::regclass, coalesce((SELECT max(${quoted(name)}) FROM ${quoted(table)}), 0) + 1, false)`,
      [sequence],
    );
}
