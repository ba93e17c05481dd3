import pg from 'pg';
import { readAudit, recordAudit } from '../../../../licensing/audit/audit';
import { openDatabase } from '../../../../licensing/store/database';
import type { Database } from '../../../../licensing/store/database';
import { migrate } from '../../../../licensing/store/migrate';
import { migrations } from '../../../../licensing/store/migrations';
import { openTestLog, readWholeLog } from '../../../support/audit';
import { startEmbeddedTestPostgres } from '../../../support/embedded-postgres';
import { emptyDatabase, noPostgres } from '../../../support/postgres';
import type { Queries } from '../../../../licensing/store/queries';

/** As a replica of before records: its own statement, word by word. */
const recordAsBefore = (queries: Queries, kind: string, detail: object): Promise<unknown> =>
  queries.query('INSERT INTO audit (kind, detail) VALUES ($1, $2)', [kind, JSON.stringify(detail)]);

/** A pool that migrates nothing by itself. */
function plainPool(
  url: string,
): Queries & { transaction<T>(work: (queries: Queries) => Promise<T>): Promise<T>; end(): Promise<void> } {
  const pool = new pg.Pool({ connectionString: url, max: 4 });
  const on = (client: pg.Pool | pg.PoolClient): Queries => ({
    query: async (text, values = []) => (await client.query(text, [...values])).rows,
  });
  return {
    ...on(pool),
    async transaction(work) {
      const client = await pool.connect();
      try {
        await client.query('BEGIN');
        const result = await work(on(client));
        await client.query('COMMIT');
        return result;
      } catch (error) {
        await client.query('ROLLBACK');
        throw error;
      } finally {
        client.release();
      }
    },
    end: () => pool.end(),
  };
}

function contract(open: () => Promise<{ url: string; stop(): Promise<void> }>): void {
  let server: { url: string; stop(): Promise<void> };
  let before: ReturnType<typeof plainPool>;
  let database: Database;
  const hostile = { reason: `it's "quoted" \\ \u00e9 \ud83d\ude00 & <b>`, nested: { n: 1.5, list: [null, true] } };

  beforeAll(async () => {
    server = await open();
    before = plainPool(server.url);
    database = openDatabase(server.url, { poolSize: 4 });
  });
  afterAll(async () => {
    await Promise.all([before.end(), database.close()]);
    await server.stop();
  });

  test('records of before come into the log as they were, in their order; those that replicas of before write afterwards, too', async () => {
    const first = migrations.findIndex(({ name }) => name === '0012-transparency');
    await migrate(before, migrations.slice(0, first));
    for (let nth = 0; nth < 1_100; nth++) await recordAsBefore(before, 'of.before', { nth });
    await recordAsBefore(before, 'hostile', hostile);
    await before.query(
      `INSERT INTO audit (kind, detail, at) VALUES ('long.ago', '{}', '2020-02-29 12:00:00.123456+02')`,
    );

    // Replicas of before go on while the schema changes.
    let [meanwhile, changing] = [0, true];
    const going = [1, 2, 3].map(async () => {
      for (let last = false; !last; meanwhile++) {
        last = !changing;
        await recordAsBefore(before, 'meanwhile', { nth: meanwhile });
      }
    });
    await database.prepare();
    changing = false;
    await Promise.all(going);
    expect(meanwhile).toBeGreaterThan(3);
    await recordAsBefore(before, 'during.rollout', hostile);
    await recordAudit(database, { kind: 'new', detail: hostile });
    await before.transaction((queries) => recordAsBefore(queries, 'during.rollout', { at: 'once more' }));

    const log = openTestLog(database);
    const head = await log.update();
    expect(head.size).toBe(1_105 + meanwhile);
    expect((await readWholeLog(log, head)).wrong).toEqual([]);
    const all = await readAudit(database, { limit: 10_000 });
    const records = all.filter(({ kind }) => kind !== 'meanwhile');
    expect(all.length - records.length).toBe(meanwhile);
    expect(records.slice(0, 1_100).map(({ kind, detail }) => [kind, detail['nth']])).toEqual(
      Array.from({ length: 1_100 }, (_, nth) => ['of.before', nth]),
    );
    expect(records.slice(1_100).map(({ kind, detail }) => ({ kind, detail }))).toEqual([
      { kind: 'hostile', detail: hostile },
      { kind: 'long.ago', detail: {} },
      { kind: 'during.rollout', detail: hostile },
      { kind: 'new', detail: hostile },
      { kind: 'during.rollout', detail: { at: 'once more' } },
    ]);
    expect(records[1_101]!.at).toEqual(new Date('2020-02-29T10:00:00.123Z'));
    for (const { at } of records.slice(1_102)) expect(Math.abs(at.getTime() - Date.now())).toBeLessThan(60_000);
    expect(new Set(all.map(({ id }) => id)).size).toBe(all.length);
    log.close();
  });

  test('a decision of a replica of before whose transaction fails leaves no record', async () => {
    const size = async (): Promise<number> =>
      (await database.query<{ n: number }>('SELECT count(*)::int AS n FROM audit'))[0]!.n;
    const had = await size();
    const failing = before.transaction(async (queries) => {
      await recordAsBefore(queries, 'failed', {});
      throw new Error('on purpose');
    });
    await expect(failing).rejects.toThrow('on purpose');
    expect(await size()).toBe(had);
  });
}

if (noPostgres !== undefined) console.warn(noPostgres);
describe('on the embedded PostgreSQL', () => contract(startEmbeddedTestPostgres));
(noPostgres === undefined ? describe : describe.skip)('on a PostgreSQL server', () => contract(emptyDatabase));
