import { once } from 'node:events';
import { EventEmitter } from 'node:events';
import pg from 'pg';
import { openDatabase } from '../../../licensing/store/database';
import type { Database } from '../../../licensing/store/database';
import type { Migration } from '../../../licensing/store/migrate';
import { silent } from '../../../runtime/log/log';
import type { Logger } from '../../../runtime/log/log';
import { emptyDatabase, noPostgres } from '../../support/postgres';

if (noPostgres !== undefined) console.warn(noPostgres);

let server: { url: string; stop(): Promise<void> };
let other: pg.Client;
const opened: Database[] = [];

/** Emits the message of each line. */
const lines = new EventEmitter();
const log = { ...silent, info: (_fields: object, message: string) => lines.emit(message) } as unknown as Logger;

function open(steps: readonly Migration[]): Database {
  const database = openDatabase(server.url, { poolSize: 2, applicationName: 'test', steps, statementMs: 200, log });
  opened.push(database);
  return database;
}

beforeEach(async () => {
  server = await emptyDatabase();
  other = new pg.Client(server.url);
  await other.connect();
  other.on('error', () => undefined);
});
afterEach(async () => {
  await Promise.all([other.end(), ...opened.splice(0).map((database) => database.close())]);
  await server.stop();
});

(noPostgres === undefined ? describe : describe.skip)('migrations', () => {
  test('may take longer than any statement', async () => {
    const database = open([{ name: '0001-long', sql: 'CREATE TABLE t (n int); SELECT pg_sleep(2)' }]);
    await database.prepare();
    expect(await database.query('SELECT name FROM schema_migrations')).toEqual([{ name: '0001-long' }]);
    await expect(database.query('SELECT pg_sleep(2)')).toRejectWithCode('store.unavailable');
  });

  const inRounds: Migration = {
    name: '0002-rounds',
    repeated: true,
    sql: `UPDATE t SET seen = seen + 1 WHERE n IN (SELECT n FROM t WHERE seen = 0 LIMIT 1000) RETURNING 1`,
  };

  test('of many rows go on where they were interrupted, by whichever replica comes next', async () => {
    const table = 'CREATE TABLE t AS SELECT n, 0 AS seen FROM generate_series(1, 5000) AS n';
    const steps = [{ name: '0001-table', sql: table }, inRounds];
    const rounds = (database: Database): Promise<number> => {
      let count = 0;
      const counted = (): void => void (count += 1);
      lines.on('schema migration goes on', counted);
      return database
        .prepare()
        .finally(() => lines.off('schema migration goes on', counted))
        .then(() => count);
    };
    const killed = open(steps);
    lines.once('schema migration goes on', () => {
      // Nothing else is done by this connection before its next round.
      void other.query(
        `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'test-migration' AND datname = current_database()`,
      );
    });
    await expect(killed.prepare()).toRejectWithCode('store.unavailable');
    const { rows: before } = await other.query<{ n: number }>('SELECT count(*)::int AS n FROM t WHERE seen = 1');
    expect(before[0]!.n).toBeGreaterThanOrEqual(1000);
    expect(before[0]!.n).toBeLessThan(5000);

    expect(await rounds(open(steps))).toBe((5000 - before[0]!.n) / 1000);
    const { rows } = await other.query('SELECT seen, count(*)::int AS n FROM t GROUP BY seen');
    expect(rows).toEqual([{ seen: 1, n: 5000 }]);
  });

  test('that wait for a lock let those behind them go first, and are applied when it is free', async () => {
    await other.query('CREATE TABLE t (n int)');
    await other.query('BEGIN');
    await other.query('INSERT INTO t VALUES (1)');
    const database = open([{ name: '0001-alter', sql: 'ALTER TABLE t ADD COLUMN m int' }]);
    const waits = once(lines, 'schema migration waits for a lock');
    const prepared = database.prepare();
    await waits;
    const third = new pg.Client(server.url);
    await third.connect();
    // A reader waits behind whoever waits for an exclusive lock; this one gets its answer while the first transaction is still open.
    expect((await third.query('SELECT count(*)::int AS n FROM t')).rows).toEqual([{ n: 0 }]);
    await third.end();
    await other.query('COMMIT');
    await prepared;
    expect(await database.query('SELECT m FROM t')).toEqual([{ m: null }]);
  });
});
