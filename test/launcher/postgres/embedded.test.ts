import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, readdir, rm, stat, writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import pg from 'pg';
import { startEmbeddedProcess } from '../../support/embedded-postgres';
import type { EmbeddedProcess } from '../../support/embedded-postgres';

const run = promisify(execFile);
const repository = join(__dirname, '../../..');

let root: string;
let database: EmbeddedProcess;

beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'sls-embedded-'));
  database = await startEmbeddedProcess(join(root, 'data'), join(root, 'socket'));
  const client = await open();
  await client.query(
    'CREATE TABLE counter (n integer NOT NULL); INSERT INTO counter VALUES (0); CREATE TABLE rows (text text)',
  );
  await client.end();
});

afterAll(async () => {
  await database.kill('SIGTERM');
  await rm(root, { recursive: true, force: true });
});

async function open(url = database.url): Promise<pg.Client> {
  const client = new pg.Client(url);
  client.on('error', () => undefined);
  await client.connect();
  return client;
}

/** Adds one to the counter in a transaction that reads first: lost updates show when two of them overlap. */
async function increment(pool: pg.Pool): Promise<void> {
  const client = await pool.connect();
  try {
    await client.query('BEGIN');
    const { rows } = await client.query<{ n: number }>('SELECT n FROM counter');
    await new Promise(setImmediate);
    await client.query('UPDATE counter SET n = $1', [(rows[0]?.n ?? 0) + 1]);
    await client.query('COMMIT');
  } finally {
    client.release();
  }
}

test('transactions of two pools are isolated from one another', async () => {
  const pools = [1, 2].map(() => new pg.Pool({ connectionString: database.url, max: 4 }));
  await Promise.all(Array.from({ length: 100 }, (_, i) => increment(pools[i % 2]!)));
  const { rows } = await pools[0]!.query('SELECT n FROM counter');
  expect(rows).toEqual([{ n: 100 }]);
  await Promise.all(pools.map((pool) => pool.end()));
});

test('parameters of many clients at once never mix', async () => {
  const pools = [1, 2].map(() => new pg.Pool({ connectionString: database.url, max: 8 }));
  const answers = await Promise.all(
    Array.from(
      { length: 400 },
      async (_, i) => (await pools[i % 2]!.query('SELECT $1::int AS i, $2::text AS t', [i, `t${i}`])).rows[0],
    ),
  );
  expect(answers).toEqual(Array.from({ length: 400 }, (_, i) => ({ i, t: `t${i}` })));
  await Promise.all(pools.map((pool) => pool.end()));
});

test("a failing statement leaves other clients' statements alone", async () => {
  const [a, b] = [await open(), await open()];
  const results = await Promise.allSettled([
    a.query('SELECT $1::int / 0', [1]),
    b.query('SELECT $1::int AS n', [1]),
    a.query('not sql'),
    b.query('SELECT $1::int AS n', [2]),
  ]);
  expect(results.map(({ status }) => status)).toEqual(['rejected', 'fulfilled', 'rejected', 'fulfilled']);
  await Promise.all([a.end(), b.end()]);
});

test('what a client leaves open is rolled back when it is gone, and the others go on', async () => {
  const gone = await open();
  await gone.query('BEGIN');
  await gone.query(`INSERT INTO rows VALUES ('never committed')`);
  const waiting = open().then(async (client) => {
    const { rows } = await client.query('SELECT * FROM rows');
    await client.end();
    return rows;
  });
  (gone as unknown as { connection: { stream: { destroy(): void } } }).connection.stream.destroy();
  expect(await waiting).toEqual([]);
});

test('other processes work with it at the same time', async () => {
  const script = `
    const pg = require(${JSON.stringify(join(repository, 'node_modules/pg'))});
    (async () => {
      const client = new pg.Client(process.argv[1]);
      await client.connect();
      for (let i = 0; i < 20; i++) {
        await client.query('BEGIN');
        const { rows } = await client.query('SELECT n FROM counter');
        await client.query('UPDATE counter SET n = $1', [rows[0].n + 1]);
        await client.query('COMMIT');
      }
      await client.end();
    })();`;
  const client = await open();
  await client.query('UPDATE counter SET n = 0');
  await Promise.all([1, 2, 3].map(() => run(process.execPath, ['-e', script, database.url])));
  expect((await client.query('SELECT n FROM counter')).rows).toEqual([{ n: 60 }]);
  await client.end();
});

test('only the owner can reach it', async () => {
  expect((await stat(join(root, 'socket'))).mode & 0o777).toBe(0o700);
  expect((await stat(join(root, 'socket', '.s.PGSQL.5432'))).mode & 0o777).toBe(0o600);
});

test('bytes that are no protocol cost the sender its connection and nobody else anything', async () => {
  for (const bytes of [
    Buffer.from('GET / HTTP/1.1\r\n\r\n'),
    Buffer.from([0, 0, 0, 8, 9, 9, 9, 9]),
    Buffer.from([0, 0, 0, 0]),
    Buffer.alloc(64, 255),
  ]) {
    const socket = connect(join(root, 'socket', '.s.PGSQL.5432'));
    socket.on('error', () => undefined);
    socket.write(bytes);
    await once(socket, 'close');
  }
  const client = await open();
  expect((await client.query('SELECT 1 AS n')).rows).toEqual([{ n: 1 }]);
  await client.end();
});

test('a second process is told that the folder is in use', async () => {
  const second = await startEmbeddedProcess(join(root, 'data'), join(root, 'other'));
  expect(second.failure).toContain('is open in another process');
});

test('every row whose insert was answered is there after the process was killed', async () => {
  const folders = [join(root, 'killed'), join(root, 'killed-socket')] as const;
  const first = await startEmbeddedProcess(...folders);
  const client = await open(first.url);
  await client.query('CREATE TABLE kept (n integer PRIMARY KEY)');
  let answered = 0;
  let killed: Promise<void> | undefined;
  while (
    await client.query('INSERT INTO kept VALUES ($1)', [answered + 1]).then(
      () => true,
      () => false,
    )
  )
    if (++answered === 50) killed = first.kill('SIGKILL');
  await client.end().catch(() => undefined);
  await killed;
  expect(answered).toBeGreaterThanOrEqual(50);

  const second = await startEmbeddedProcess(...folders);
  try {
    const reader = await open(second.url);
    const { rows } = await reader.query<{ count: string }>('SELECT count(*) FROM kept WHERE n <= $1', [answered]);
    expect(Number(rows[0]?.count)).toBe(answered);
    await reader.end();
  } finally {
    await second.kill('SIGTERM');
  }
});

test('a first start that was killed in the middle is made good by the next', async () => {
  const folder = join(root, 'half');
  await mkdir(`${folder}.new`);
  await writeFile(join(`${folder}.new`, 'PG_VERSION'), '18');
  const next = await startEmbeddedProcess(folder, join(root, 'half-socket'));
  const client = await open(next.url);
  expect((await client.query('SELECT 1 AS n')).rows).toEqual([{ n: 1 }]);
  await client.end();
  await next.kill('SIGTERM');
  expect(await readdir(root)).not.toContain('half.new');
});
