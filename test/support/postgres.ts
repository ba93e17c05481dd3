import { randomBytes } from 'node:crypto';
import { openDatabase } from '../../licensing/store/database';
import type { Queries } from '../../licensing/store/queries';
import { administer, noPostgres, sharedCluster, startCluster } from './cluster';
import { startEmbeddedTestPostgres } from './embedded-postgres';
import { eventually } from './eventually';

export { noPostgres } from './cluster';

export interface TestDatabase {
  /** Of a database that nobody else uses. */
  url: string;
  stop(): Promise<void>;
}

export interface TestPostgres extends TestDatabase {
  /** False for a server that isn't ours to stop. */
  canRestart: boolean;
  /** Kills the server as a crash does: clients' connections break. */
  kill(): Promise<void>;
  start(): Promise<void>;
}

/** The cluster of the jest worker, which outlives a test file's sandbox; where there is no jest, this process's. */
const cluster = (globalThis as { sharedCluster?: typeof sharedCluster }).sharedCluster ?? sharedCluster;

/** The database that has the schema, and that others are copied from. */
const TEMPLATE = 'sls_migrated';
/** invalid_catalog_name: there is no such database. */
const NO_DATABASE = '3D000';

function databaseOf(server: string, name: string): string {
  // URL parses no authority that ends in "@"; where the socket is, the parameter `host` says.
  const url = new URL(server.replace('@/', '@localhost/'));
  url.pathname = `/${name}`;
  return url.toString();
}

async function create(template: string): Promise<TestDatabase> {
  const server = await cluster();
  const name = `sls_test_${randomBytes(8).toString('hex')}`;
  await administer(server, `CREATE DATABASE ${name} TEMPLATE ${template}`);
  return { url: databaseOf(server, name), stop: () => administer(server, `DROP DATABASE ${name} WITH (FORCE)`) };
}

/** An empty database on the shared server. */
export function emptyDatabase(): Promise<TestDatabase> {
  return create('template0');
}

let template: Promise<void> | undefined;

async function makeTemplate(): Promise<void> {
  const { url } = await emptyDatabase();
  const database = openDatabase(url, { poolSize: 1 });
  await database.prepare();
  await database.close();
  await administer(await cluster(), `ALTER DATABASE ${new URL(url).pathname.slice(1)} RENAME TO ${TEMPLATE}`);
}

/** A database on the shared server that has the schema already. */
export async function migratedDatabase(): Promise<TestDatabase> {
  // A server that isn't ours may have a template of another version.
  if (process.env['SLS_TEST_DATABASE_URL'] !== undefined) return emptyDatabase();
  try {
    return await create(TEMPLATE);
  } catch (error) {
    if ((error as { code?: string }).code !== NO_DATABASE) throw error;
    await (template ??= makeTemplate());
    return create(TEMPLATE);
  }
}

/** A database for tests that ask no more of it than to be one: on the shared server, or embedded where there is none. */
export function testDatabase(): Promise<TestDatabase> {
  return noPostgres === undefined ? migratedDatabase() : startEmbeddedTestPostgres();
}

/**
 * Until some work waits for a lock that this transaction holds, or has ended without: on a server. The embedded database serves one transaction at a
 * time.
 */
export async function untilBlocking({ query }: Queries, work: Promise<unknown>): Promise<void> {
  let ended = false;
  const end = (): void => void (ended = true);
  work.then(end, end);
  // Not by pg_stat_activity: that stays as it was when the transaction looked at it first, without connections that came later.
  const waiting = 'SELECT 1 FROM pg_locks WHERE NOT granted AND pg_backend_pid() = ANY (pg_blocking_pids(pid))';
  await eventually(async () => ended || (await query(waiting)).length > 0);
}

/** A server of the test's own, which it may kill. */
export async function startTestPostgres(): Promise<TestPostgres> {
  if (process.env['SLS_TEST_DATABASE_URL'] !== undefined) {
    const refuse = (): Promise<void> => Promise.reject(new Error('this server is not ours to restart'));
    return { ...(await emptyDatabase()), canRestart: false, kill: refuse, start: refuse };
  }
  const { url, start, kill } = await startCluster();
  return { url, canRestart: true, start, kill, stop: kill };
}
