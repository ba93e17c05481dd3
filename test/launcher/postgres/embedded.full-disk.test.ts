import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import pg from 'pg';
import { copyEmbeddedDatabase, startEmbeddedProcess } from '../../support/embedded-postgres';
import { eventually } from '../../support/eventually';
import { mountSmallDisk } from '../../support/small-disk';
import type { SmallDisk } from '../../support/small-disk';

const MIB = 1024 * 1024;

let disk: SmallDisk | undefined;
beforeEach(() => void (disk = mountSmallDisk(120 * MIB)));
afterEach(() => disk?.remove());

async function query(url: string, text: string, values: unknown[] = []): Promise<pg.QueryResult<{ n: number }>> {
  const client = new pg.Client(url);
  client.on('error', () => undefined);
  await client.connect();
  try {
    return await client.query<{ n: number }>(text, values);
  } finally {
    await client.end().catch(() => undefined);
  }
}

test('a first start on a disk without room says where and why', async () => {
  if (!disk) return;
  disk.fill(5 * MIB);
  const { failure } = await startEmbeddedProcess(join(disk.folder, 'data'), join(disk.folder, 'socket'));
  expect(failure).toBe(`the database in ${disk.folder}/data.new can't be opened: ENOSPC: no space left on device`);
});

test('a disk that becomes full ends nothing, and nothing that was answered is lost', async () => {
  if (!disk) return;
  const data = join(disk.folder, 'data');
  await copyEmbeddedDatabase(data);
  const database = await startEmbeddedProcess(data, join(disk.folder, 'socket'));
  try {
    const { url } = database;
    await query(url, 'CREATE TABLE counter (n integer, filler text); INSERT INTO counter VALUES (0, NULL)');
    // What is left of the first segment of its log is soon used up then.
    await query(url, 'CREATE TABLE large AS SELECT md5(random()::text) AS x FROM generate_series(1, 60000)');
    disk.fill();
    const client = new pg.Client(url);
    client.on('error', () => undefined);
    await client.connect();
    let counted = 0;
    let failure: { code?: string; severity?: string } | undefined;
    while (failure === undefined)
      await client
        .query('UPDATE counter SET n = $1, filler = $2', [counted + 1, randomBytes(900).toString('hex')])
        .then(() => (counted += 1))
        .catch((error: object) => (failure = error));
    expect({ failure, counted: counted > 0 }).toMatchObject({
      failure: { code: '53100', severity: 'PANIC' },
      counted: true,
    });
    // While there is no room, whoever comes is told so.
    await expect(query(url, 'SELECT n FROM counter')).rejects.toMatchObject({ code: '57P03' });
    disk.empty();
    const { rows } = await eventually(() => query(url, 'SELECT n FROM counter').catch(() => undefined));
    expect(rows).toEqual([{ n: counted }]);
    await query(url, 'UPDATE counter SET n = n + 1');
  } finally {
    await database.kill('SIGTERM');
  }
});
