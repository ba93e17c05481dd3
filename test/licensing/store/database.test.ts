import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import pg from 'pg';
import { openDatabase } from '../../../licensing/store/database';
import type { Database } from '../../../licensing/store/database';
import { migrate } from '../../../licensing/store/migrate';
import { migrations } from '../../../licensing/store/migrations';
import { startEmbeddedTestPostgres } from '../../support/embedded-postgres';
import { eventually } from '../../support/eventually';
import { emptyDatabase, noPostgres, startTestPostgres } from '../../support/postgres';
import type { TestPostgres } from '../../support/postgres';

if (noPostgres !== undefined) console.warn(noPostgres);

/** Both databases take the same tests: one dialect. */
function contract(open: () => Promise<{ url: string; stop(): Promise<void> }>): void {
  let server: { url: string; stop(): Promise<void> };
  const databases: Database[] = [];

  const connect = (): Database => {
    const database = openDatabase(server.url, { poolSize: 4 });
    databases.push(database);
    return database;
  };

  beforeAll(async () => {
    server = await open();
  });

  afterAll(async () => {
    await Promise.all(databases.map((database) => database.close()));
    await server.stop();
  });

  test('replicas that start together on an empty database migrate it once', async () => {
    const replicas = Array.from({ length: 5 }, connect);
    await Promise.all(replicas.map((replica) => replica.prepare()));
    const rows = await replicas[0]!.query<{ name: string }>('SELECT name FROM schema_migrations ORDER BY name');
    expect(rows.map(({ name }) => name)).toEqual(migrations.map(({ name }) => name));
  });

  test('a transaction that throws leaves nothing behind', async () => {
    const database = connect();
    const id = '00000000-0000-4000-8000-000000000001';
    const work = database.transaction(async ({ query }) => {
      await query('INSERT INTO accounts (id, username, password_hash) VALUES ($1, $2, $3)', [id, 'rolled.back', 'x']);
      throw new Error('on purpose');
    });
    await expect(work).rejects.toThrow('on purpose');
    expect(await database.query('SELECT id FROM accounts WHERE username = $1', ['rolled.back'])).toEqual([]);
  });

  test('a value is never read as SQL', async () => {
    const database = connect();
    const hostile = `'; DROP TABLE accounts; --`;
    expect(await database.query('SELECT $1::text AS text', [hostile])).toEqual([{ text: hostile }]);
    expect(await database.query('SELECT count(*)::int AS n FROM accounts WHERE username = $1', [hostile])).toEqual([
      { n: 0 },
    ]);
  });

  test('a migration whose text changed after it was applied is refused', async () => {
    const database = connect();
    const changed = [{ ...migrations[0]!, sql: 'CREATE TABLE other (n int)' }];
    await expect(migrate(database, changed)).toRejectWithCode('store.migration_changed');
  });

  test('a migration that fails leaves the schema as it was', async () => {
    const database = connect();
    const failing = [...migrations, { name: '9998-half', sql: 'CREATE TABLE half (n int); SELECT 1/0' }];
    await expect(migrate(database, failing)).rejects.toThrow('division by zero');
    expect(await database.query(`SELECT to_regclass('half') AS half`)).toEqual([{ half: null }]);
    const repaired = [...migrations, { name: '9998-half', sql: 'CREATE TABLE half (n int)' }];
    await migrate(database, repaired);
    await migrate(database, repaired);
    await migrate(database, migrations);
  });
}

describe('on the embedded PostgreSQL', () => contract(startEmbeddedTestPostgres));

(noPostgres === undefined ? describe : describe.skip)('on a PostgreSQL server', () => {
  contract(emptyDatabase);

  test('a statement that takes too long is ended by the server', async () => {
    const server = await emptyDatabase();
    const database = openDatabase(server.url, { poolSize: 1 });
    try {
      await expect(database.query('SELECT pg_sleep(3600)')).toRejectWithCode('store.unavailable');
      // By itself it would be there for an hour, whatever becomes of the connection.
      const running = `SELECT query FROM pg_stat_activity WHERE query LIKE '%pg_sleep(3600)' AND state = 'active'`;
      await eventually(async () => (await database.query(running)).length === 0);
    } finally {
      await database.close();
      await server.stop();
    }
  });
});

describe('a database that is away', () => {
  test('is reported as store.unavailable, without a word about where it is', async () => {
    const database = openDatabase('postgres://user:hunter22@127.0.0.1:1/sls', { poolSize: 1 });
    const error: Error = await database.query('SELECT 1').then(
      () => new Error('answered'),
      (refused: Error) => refused,
    );
    expect(error).toMatchObject({ code: 'store.unavailable', grpcStatus: 14 });
    expect(error.message).not.toMatch(/hunter22|127\.0\.0\.1|user/);
    await database.close();
  });

  (noPostgres === undefined ? describe : describe.skip)('after a crash', () => {
    let server: TestPostgres;
    beforeAll(async () => {
      server = await startTestPostgres();
    });
    afterAll(() => server.stop());

    test('is used again when it is back, and has all that it said it had', async () => {
      if (!server.canRestart) return;
      const database = openDatabase(server.url, { poolSize: 4 });
      await database.prepare();
      // Connections that are open and idle when the server dies.
      await Promise.all([1, 2, 3].map(() => database.query('SELECT pg_sleep(0.05)')));
      await server.kill();
      await expect(database.query('SELECT 1')).toRejectWithCode('store.unavailable');
      await server.start();
      expect(await database.query('SELECT 1 AS n')).toEqual([{ n: 1 }]);
      await database.close();
    });

    test('in the middle of a transaction fails that transaction alone', async () => {
      if (!server.canRestart) return;
      const database = openDatabase(server.url, { poolSize: 4 });
      await database.query('SELECT 1');
      const broken = database.transaction(async ({ query }) => {
        await query(
          `INSERT INTO accounts (id, username, password_hash) VALUES ('00000000-0000-4000-8000-000000000002', 'half', 'x')`,
        );
        await server.kill();
        await server.start();
        await query('SELECT 1');
      });
      await expect(broken).toRejectWithCode('store.unavailable');
      expect(await database.query(`SELECT id FROM accounts WHERE username = 'half'`)).toEqual([]);
      await database.close();
    });

    test('for a moment is waited for', async () => {
      if (!server.canRestart) return;
      const database = openDatabase(server.url, { poolSize: 1 });
      await server.kill();
      const answer = database.query('SELECT 1 AS n');
      await server.start();
      expect(await answer).toEqual([{ n: 1 }]);
      await database.close();
    });
  });
});

test('a step that an installation lacks, and that has a lower number than some it has, is applied all the same', async () => {
  const server = await startEmbeddedTestPostgres();
  const client = new pg.Client(server.url);
  await client.connect();
  const query = async (text: string, values?: unknown[]) => (await client.query(text, values)).rows;
  const transaction = async (work: (queries: object) => Promise<unknown>): Promise<unknown> => {
    await query('BEGIN');
    const result = await work({ query });
    await query('COMMIT');
    return result;
  };
  const database = { query, transaction } as unknown as Parameters<typeof migrate>[0];
  try {
    await migrate(
      database,
      migrations.filter(({ name }) => name !== '0011-oidc'),
    );
    await query(
      `INSERT INTO accounts (id, username, password_hash) VALUES ('00000000-0000-4000-8000-000000000001', 'ada', 'x')`,
    );
    await migrate(database, migrations);
    expect(await query('SELECT username, password_hash FROM accounts')).toEqual([
      { username: 'ada', password_hash: 'x' },
    ]);
    expect(await query('SELECT count(*)::int AS n FROM oidc_identities')).toEqual([{ n: 0 }]);
    expect(await query('SELECT name FROM schema_migrations ORDER BY name')).toEqual(
      migrations.map(({ name }) => ({ name })),
    );
  } finally {
    await client.end();
    await server.stop();
  }
});

test('migrations are numbered in the order of the list, one for each file', () => {
  const names = migrations.map(({ name }) => name);
  const numbers = names.map((name) => Number(/^(\d{4})-[a-z-]+$/.exec(name)?.[1]));
  expect(numbers).toEqual([...new Set(numbers)].sort((a, b) => a - b));
  const files = readdirSync(join(__dirname, '../../../licensing/store/migrations')).filter(
    (file) => file !== 'index.ts',
  );
  expect(files.sort()).toEqual(names.map((name) => `${name}.ts`));
});

test('pg still reports a refused connection the way that isAway knows', async () => {
  const client = new pg.Client('postgres://postgres@127.0.0.1:1/x');
  await expect(client.connect()).rejects.toMatchObject({ code: 'ECONNREFUSED' });
});
