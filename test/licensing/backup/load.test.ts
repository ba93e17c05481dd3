import pg from 'pg';
import { withDump } from '../../../licensing/backup/dump';
import { restoreDatabase } from '../../../licensing/backup/load';
import { recordAudit } from '../../../licensing/audit/audit';
import { withConnection } from '../../../licensing/store/connection';
import { migrate } from '../../../licensing/store/migrate';
import { migrations } from '../../../licensing/store/migrations';
import { emptyDatabase, migratedDatabase, noPostgres } from '../../support/postgres';
import type { TestDatabase } from '../../support/postgres';

if (noPostgres !== undefined) console.warn(noPostgres);

const RESTORED = { backupAt: new Date('2026-11-01T00:00:00Z'), reason: 'the disk broke' };
const USER = '3d2f4a10-0d0b-4f6e-8c0f-000000000001';
const SESSION = '3d2f4a10-0d0b-4f6e-8c0f-000000000002';
/** A number that no double holds. */
const HUGE = '9007199254740993';

const databases: TestDatabase[] = [];
async function database(make: () => Promise<TestDatabase>): Promise<string> {
  const made = await make();
  databases.push(made);
  return made.url;
}
afterEach(async () => {
  await Promise.all(databases.splice(0).map((made) => made.stop()));
});

async function ask<Row extends pg.QueryResultRow>(url: string, text: string, values: unknown[] = []): Promise<Row[]> {
  const client = new pg.Client(url);
  await client.connect();
  try {
    return (await client.query<Row>(text, values)).rows;
  } finally {
    await client.end();
  }
}

/** An account with a session, and records of the audit log, two of them in its tree. */
async function fill(url: string): Promise<void> {
  await ask(url, `INSERT INTO accounts (id, username, password_hash) VALUES ('${USER}', 'ada', 'hash')`);
  await ask(
    url,
    `INSERT INTO sessions (id, user_id, authenticated_at, expires_at, client_name, client_address)
     VALUES ('${SESSION}', '${USER}', now(), now() + interval '90 days', 'sls "1"', '::1')`,
  );
  await ask(url, `INSERT INTO refresh_tokens (sha256, session_id) VALUES ('\\x00ff', '${SESSION}')`);
  await withConnection(url, 'test', async (queries) => {
    for (const kind of ['one', 'two', 'three'])
      await recordAudit(queries, { kind, detail: { line: 'a\nb', snow: '雪' } });
  });
  await ask(url, 'UPDATE audit SET sequence = id - 1 WHERE id < 3');
  await ask(url, "INSERT INTO audit_nodes (level, position, sha256) VALUES (1, 0, '\\xab')");
  await ask(url, `UPDATE audit_tree SET size = ${HUGE}, frontier = '\\x0102', head = 'signed'`);
}

interface Dump {
  migrations: string[];
  tables: Array<{ name: string; rows: string[] }>;
}

function dumpOf(url: string): Promise<Dump> {
  return withDump(url, async ({ facts, tables }) => {
    const all: Dump = { migrations: facts.migrations, tables: [] };
    for await (const { name, rows } of tables) {
      const list: string[] = [];
      for await (const row of rows) list.push(row);
      all.tables.push({ name, rows: list });
    }
    return all;
  });
}

function restore(url: string, { migrations: names, tables }: Dump): Promise<number> {
  return restoreDatabase(
    url,
    {
      migrations: names,
      tables: (async function* () {
        yield* tables;
      })(),
    },
    RESTORED,
  );
}

const rowsOf = ({ tables }: Dump, table: string): string[] => tables.find(({ name }) => name === table)?.rows ?? [];

(noPostgres === undefined ? describe : describe.skip)('a database that is restored', () => {
  test('is what it was, but for its sessions and the record of it', async () => {
    const before = await database(migratedDatabase);
    await fill(before);
    const dump = await dumpOf(before);
    const after = await database(emptyDatabase);
    expect(await restore(after, dump)).toBe(1);
    const again = await dumpOf(after);
    expect(again.migrations).toEqual(dump.migrations);
    for (const { name, rows } of dump.tables)
      if (name !== 'sessions' && name !== 'audit') expect(rowsOf(again, name)).toEqual(rows);
    expect(rowsOf(again, 'audit_tree')[0]).toContain(HUGE);
    expect(rowsOf(again, 'audit').slice(0, 3)).toEqual(rowsOf(dump, 'audit'));
    expect(await ask(after, 'SELECT revoked_at IS NOT NULL AS ended, revoked_because FROM sessions')).toEqual([
      { ended: true, revoked_because: 'restored' },
    ]);
    const [{ record }] = (await ask<{ record: Buffer }>(after, 'SELECT record FROM audit WHERE id = 4')) as [
      { record: Buffer },
    ];
    expect(JSON.parse(record.toString('utf8'))).toMatchObject({
      kind: 'log.restored',
      detail: { backupAt: '2026-11-01T00:00:00.000Z', reason: 'the disk broke', sessionsEnded: 1 },
    });
  });

  test('keeps what it was born with: its installation id', async () => {
    const before = await database(migratedDatabase);
    const after = await database(emptyDatabase);
    await restore(after, await dumpOf(before));
    expect(await ask(after, 'SELECT id FROM installation')).toEqual(await ask(before, 'SELECT id FROM installation'));
  });

  test.each(['DELETE FROM audit', 'UPDATE audit SET record = record || record', 'TRUNCATE audit'])(
    'keeps its log from being changed afterwards: %s',
    async (statement) => {
      const before = await database(migratedDatabase);
      await fill(before);
      const after = await database(emptyDatabase);
      await restore(after, await dumpOf(before));
      await expect(ask(after, statement)).rejects.toThrow(/the audit log only grows|violates check constraint/);
    },
  );

  test('gets the steps that its schema lacked, with what they do to rows', async () => {
    const before = await database(emptyDatabase);
    const old = migrations.slice(
      0,
      migrations.findIndex(({ name }) => name === '0013-refresh-tokens'),
    );
    await withConnection(before, 'test', (connection) => migrate(connection, old));
    await ask(before, `INSERT INTO accounts (id, username, password_hash) VALUES ('${USER}', 'ada', 'hash')`);
    await ask(
      before,
      `INSERT INTO sessions (id, user_id, authenticated_at, expires_at, client_name, client_address)
       VALUES ('${SESSION}', '${USER}', now(), now() + interval '90 days', 'sls', '::1')`,
    );
    await ask(before, `INSERT INTO refresh_tokens (sha256, session_id, used_at) VALUES ('\\x01', '${SESSION}', now())`);
    const rows = async (table: string): Promise<string[]> =>
      (await ask<{ row: string }>(before, `SELECT to_jsonb(t)::text AS row FROM ${table} AS t`)).map(({ row }) => row);
    const after = await database(emptyDatabase);
    await restore(after, {
      migrations: old.map(({ name }) => name),
      tables: [
        { name: 'accounts', rows: await rows('accounts') },
        { name: 'sessions', rows: await rows('sessions') },
        { name: 'refresh_tokens', rows: await rows('refresh_tokens') },
      ],
    });
    expect(await ask(after, 'SELECT retired_at = used_at AS retired FROM refresh_tokens')).toEqual([{ retired: true }]);
  });
});

(noPostgres === undefined ? describe : describe.skip)('refuses', () => {
  test('a database that holds something', async () => {
    const dump = await dumpOf(await database(migratedDatabase));
    const taken = await database(emptyDatabase);
    await ask(taken, 'CREATE TABLE theirs (n int)');
    await expect(restore(taken, dump)).rejects.toMatchObject({
      code: 'backup.database_in_use',
      message: 'expected an empty database to restore into, got one with the table theirs',
    });
    expect(await ask(taken, "SELECT to_regclass('accounts') IS NULL AS untouched")).toEqual([{ untouched: true }]);
  });

  test('the schema of a later release, before anything is made', async () => {
    const dump = await dumpOf(await database(migratedDatabase));
    const empty = await database(emptyDatabase);
    const later = { ...dump, migrations: [...dump.migrations, '9999-later'] };
    await expect(restore(empty, later)).rejects.toMatchObject({ code: 'backup.newer' });
    expect(await ask(empty, "SELECT to_regclass('accounts') IS NULL AS untouched")).toEqual([{ untouched: true }]);
  });

  test('a table that the schema does not have, and keeps no row of the others', async () => {
    const before = await database(migratedDatabase);
    await fill(before);
    const dump = await dumpOf(before);
    const empty = await database(emptyDatabase);
    await expect(
      restore(empty, { ...dump, tables: [...dump.tables, { name: 'evil', rows: ['{}'] }] }),
    ).rejects.toMatchObject({ code: 'backup.malformed' });
    expect(await ask(empty, 'SELECT count(*)::int AS n FROM accounts')).toEqual([{ n: 0 }]);
  });

  test('to dump a database that a later release has migrated, or that was not migrated to the end', async () => {
    const later = await database(migratedDatabase);
    await ask(later, "INSERT INTO schema_migrations (name, sha256) VALUES ('9999-later', 'x')");
    await expect(dumpOf(later)).rejects.toMatchObject({ code: 'backup.schema' });
    const earlier = await database(emptyDatabase);
    await withConnection(earlier, 'test', (connection) => migrate(connection, migrations.slice(0, 3)));
    await expect(dumpOf(earlier)).rejects.toMatchObject({ code: 'backup.schema' });
  });
});
