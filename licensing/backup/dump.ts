import { withConnection } from '../store/connection';
import { migrations } from '../store/migrations';
import { missingMigrations } from '../store/migrate';
import type { Queries } from '../store/queries';
import { BackupError } from './errors';
import { quoted, tablesOf } from './tables';
import type { TableRows } from './tables';

/** Rows that are read at once: a few hundred kilobytes of the largest. */
const PAGE = 500;

/** What a dump is of. */
interface DumpFacts {
  /** Names of the schema's steps that the database has, in their order. */
  migrations: string[];
  /** Its installation's id. */
  installation: string;
  /** Accounts, now. */
  accounts: number;
  /** Records of the audit log, in its tree or not. */
  records: number;
}

interface Dump {
  facts: DumpFacts;
  tables: AsyncGenerator<TableRows>;
}

/**
 * Reads everything that a database of this release holds, as it was at one moment.
 * @param url of its owner @param work reads the tables to the end, one after the other
 * @throws BackupError backup.schema; pg's errors; what `work` throws
 */
export function withDump<T>(url: string, work: (dump: Dump) => Promise<T>): Promise<T> {
  return withConnection(url, 'sls-backup', (connection) =>
    connection.transaction(async (queries) => {
      await queries.query('SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY');
      return work(await dumpDatabase(queries));
    }),
  );
}

async function dumpDatabase(queries: Queries): Promise<{ facts: DumpFacts; tables: AsyncGenerator<TableRows> }> {
  const lacking = await missingMigrations(queries, migrations);
  const applied = await queries.query<{ name: string }>('SELECT name FROM schema_migrations ORDER BY name');
  const known = new Set(migrations.map(({ name }) => name));
  const later = applied.filter(({ name }) => !known.has(name));
  if (lacking.length > 0 || later.length > 0)
    throw new BackupError(
      'backup.schema',
      later.length > 0
        ? `expected a database of this release, got one that a later release has migrated (${later[0]!.name})`
        : `expected a database of this release, got one without ${lacking[0]!.name}`,
      later.length > 0 ? 'use the sls of that release' : 'start this release once, which migrates it',
    );
  const [facts] = await queries.query<{ installation: string; accounts: string; records: string }>(
    `SELECT (SELECT id::text FROM installation) AS installation,
       (SELECT count(*)::text FROM accounts) AS accounts, (SELECT count(*)::text FROM audit) AS records`,
  );
  return {
    facts: {
      migrations: migrations.map(({ name }) => name),
      installation: facts!.installation,
      accounts: Number(facts!.accounts),
      records: Number(facts!.records),
    },
    tables: dumpTables(queries),
  };
}

async function* dumpTables(queries: Queries): AsyncGenerator<TableRows> {
  for (const { name } of await tablesOf(queries)) yield { name, rows: dumpRows(queries, name) };
}

async function* dumpRows(queries: Queries, table: string): AsyncGenerator<string> {
  await queries.query(`DECLARE dump NO SCROLL CURSOR FOR SELECT to_jsonb(t)::text AS row FROM ${quoted(table)} AS t`);
  for (;;) {
    const rows = await queries.query<{ row: string }>(`FETCH ${PAGE} FROM dump`);
    for (const { row } of rows) yield row;
    if (rows.length < PAGE) break;
  }
  await queries.query('CLOSE dump');
}
