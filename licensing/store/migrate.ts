import { sha256Hex } from '../../attestation/crypto';
import type { Queries } from './queries';
import { CodedError } from '../../errors/coded-error';
import { silent } from '../../runtime/log/log';
import type { Logger } from '../../runtime/log/log';

/** One step of the schema. Forward only: once released it never changes; what was wrong is put right by a later one. */
export interface Migration {
  /** NNNN-subject, as its file. Applied in the order of the list, which is the order of the numbers. */
  name: string;
  sql: string;
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

/**
 * Applies the migrations that the database lacks, all or none. Replicas that start together wait for one of them to do it.
 * A database that knows later ones is left alone: during a rollout old replicas still serve.
 * @throws MigrationError
 */
export async function migrate(
  database: Queries & { transaction<T>(work: (queries: Queries) => Promise<T>): Promise<T> },
  migrations: readonly Migration[],
  log: Logger = silent,
): Promise<void> {
  // The usual case costs one statement and no lock: functions start often.
  const [table] = await database.query<{ there: boolean }>(
    `SELECT to_regclass('schema_migrations') IS NOT NULL AS there`,
  );
  if (table?.there === true) {
    const applied = await database.query<Applied>('SELECT name, sha256 FROM schema_migrations');
    if (missing(migrations, applied).length === 0) return;
  }
  await database.transaction(async (queries) => {
    // Others wait here for as long as the migrations of the first take.
    await queries.query(`SET LOCAL statement_timeout = '60s'`);
    await queries.query('SELECT pg_advisory_xact_lock($1)', [LOCK.toString()]);
    await queries.query(
      `CREATE TABLE IF NOT EXISTS schema_migrations (
         name text PRIMARY KEY,
         sha256 text NOT NULL,
         applied_at timestamptz NOT NULL DEFAULT now()
       )`,
    );
    const applied = await queries.query<Applied>('SELECT name, sha256 FROM schema_migrations');
    for (const migration of missing(migrations, applied)) {
      await queries.query(migration.sql);
      await queries.query('INSERT INTO schema_migrations (name, sha256) VALUES ($1, $2)', [
        migration.name,
        digest(migration),
      ]);
      log.info({ migration: migration.name }, 'schema migrated');
    }
  });
}
