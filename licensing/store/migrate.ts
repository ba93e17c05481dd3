import { sha256Hex } from '../../attestation/crypto';
import type { Transactions } from './connection';
import type { Queries } from './queries';
import { CodedError } from '../../errors/coded-error';
import { Backoff } from '../../runtime/backoff';
import { systemClock } from '../../runtime/clock';
import type { Clock } from '../../runtime/clock';
import { silent } from '../../runtime/log/log';
import type { Logger } from '../../runtime/log/log';

/** One step of the schema. Forward only: once released it never changes; what was wrong is put right by a later one. */
export interface Migration {
  /** NNNN-subject, as its file. Applied in the order of the list, which is the order of the numbers. */
  name: string;
  sql: string;
  /**
   * `sql` is one statement that changes a bounded number of rows and returns one row for each: it runs again, in a transaction of its own, until it
   * returns none. So a change of millions of rows holds no lock for long, shows how far it is, and goes on where it was when it is interrupted.
   */
  repeated?: boolean;
}

/** The database holds another text under a migration's name. */
class MigrationError extends CodedError<'store.migration_changed'> {
  override readonly name = 'MigrationError';

  constructor(message: string, options?: ErrorOptions) {
    super('store.migration_changed', message, options);
  }
}

/** Any number that no other program takes as an advisory lock on the same database. */
const LOCK = 7_234_620_184_015_123n;

interface Applied {
  name: string;
  sha256: string;
}

const digest = ({ sql }: Migration): string => sha256Hex(sql);

function missing(migrations: readonly Migration[], applied: readonly Applied[]): Migration[] {
  const known = new Map(applied.map(({ name, sha256 }) => [name, sha256]));
  return migrations.filter((migration) => {
    const sha256 = known.get(migration.name);
    if (sha256 !== undefined && sha256 !== digest(migration)) {
      throw new MigrationError(
        `migration ${migration.name}: expected the text that was applied (SHA-256 ${sha256}), got ${digest(migration)}`,
      );
    }
    return sha256 === undefined;
  });
}

/** What a migration waits for a lock that a serving replica holds, before it lets those behind it go first and tries again. */
const LOCK_WAIT = '2s';
const LOCK_RETRY = { firstMs: 200, mostMs: 5_000 };
/** SQLSTATE lock_not_available (PostgreSQL documentation, appendix A). */
const LOCKED = '55P03';

interface MigrateOptions {
  /** Silent, unless told. */
  log?: Logger;
  clock?: Clock;
}

/** Those that the database lacks. The usual answer, none, costs two statements and no lock: functions start often. @throws MigrationError */
export async function missingMigrations(queries: Queries, migrations: readonly Migration[]): Promise<Migration[]> {
  const [table] = await queries.query<{ there: boolean }>(
    `SELECT to_regclass('schema_migrations') IS NOT NULL AS there`,
  );
  if (table?.there !== true) return [...migrations];
  return missing(migrations, await queries.query<Applied>('SELECT name, sha256 FROM schema_migrations'));
}

/**
 * Applies the migrations that the database lacks, one after the other, each as a whole. Replicas that start together wait for one of them to do it; one
 * that is interrupted is followed by the next replica, from where it was. Those that serve meanwhile are never locked out for long.
 * A database that knows later ones is left alone: during a rollout old replicas still serve.
 * @param database by a connection without a limit of time: a migration takes as long as it takes
 * @throws MigrationError
 */
export async function migrate(
  database: Transactions,
  migrations: readonly Migration[],
  { log = silent, clock = systemClock }: MigrateOptions = {},
): Promise<void> {
  for (const migration of await missingMigrations(database, migrations)) {
    const backoff = new Backoff({ ...LOCK_RETRY, clock });
    let rows = 0;
    for (let applied = false; !applied;) {
      try {
        const changed = await database.transaction((queries) => apply(queries, migrations, migration));
        applied = changed === 'applied';
        if (changed === 'applied') continue;
        backoff.reset();
        rows += changed;
        log.info({ migration: migration.name, rows }, 'schema migration goes on');
      } catch (error) {
        if ((error as { code?: string }).code !== LOCKED) throw error;
        log.info({ migration: migration.name }, 'schema migration waits for a lock');
        await backoff.wait();
      }
    }
    log.info({ migration: migration.name }, 'schema migrated');
  }
}

/** @returns the rows that one round of a repeated migration changed; `applied` when it is done, by whomever */
async function apply(
  queries: Queries,
  migrations: readonly Migration[],
  migration: Migration,
): Promise<number | 'applied'> {
  await queries.query(`SET LOCAL statement_timeout = 0`);
  // Others wait here for as long as a migration of the first takes.
  await queries.query('SELECT pg_advisory_xact_lock($1)', [LOCK.toString()]);
  await queries.query(`SET LOCAL lock_timeout = '${LOCK_WAIT}'`);
  await queries.query(
    `CREATE TABLE IF NOT EXISTS schema_migrations (
       name text PRIMARY KEY,
       sha256 text NOT NULL,
       applied_at timestamptz NOT NULL DEFAULT now()
     )`,
  );
  const done = await queries.query<Applied>('SELECT name, sha256 FROM schema_migrations');
  if (!missing(migrations, done).includes(migration)) return 'applied';
  const rows = await queries.query(migration.sql);
  if (migration.repeated === true && rows.length > 0) return rows.length;
  await queries.query('INSERT INTO schema_migrations (name, sha256) VALUES ($1, $2)', [
    migration.name,
    digest(migration),
  ]);
  return 'applied';
}
