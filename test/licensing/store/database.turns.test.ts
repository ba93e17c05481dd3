import { openDatabase } from '../../../licensing/store/database';
import type { Database } from '../../../licensing/store/database';
import { workFor, workForAll } from '../../../runtime/turns/requester';
import type { Requester } from '../../../runtime/turns/requester';
import { startEmbeddedTestPostgres } from '../../support/embedded-postgres';
import { TestClock } from '../../support/clock';
import { eventually } from '../../support/eventually';
import { emptyDatabase, noPostgres } from '../../support/postgres';

let server: { url: string; stop(): Promise<void> };
let database: Database;
let clock: TestClock;
let release: () => void;
let held: Promise<void>;
/** Who was answered, in order. */
let answered: string[];

beforeAll(async () => {
  server = await startEmbeddedTestPostgres();
});
afterAll(() => server.stop());

/** Its one connection is taken until `release`. */
beforeEach(async () => {
  clock = new TestClock();
  database = openDatabase(server.url, { poolSize: 1, clock });
  answered = [];
  const gate = new Promise<void>((resolve) => (release = resolve));
  let began = (): void => undefined;
  const underWay = new Promise<void>((resolve) => (began = resolve));
  held = database.transaction(async () => {
    began();
    await gate;
  });
  await underWay;
});
afterEach(async () => {
  release();
  await held;
  await database.close();
});

function requester(owner: string, signal = new AbortController().signal): Requester {
  return { owner, signal, begun: false, over: false, statements: 0 };
}

function ask(owner: string, forWhom = requester(owner)): Promise<void> {
  return workFor(forWhom, () => database.query('SELECT 1')).then(
    () => void answered.push(owner),
    (error: Error & { code?: string }) => void answered.push(`${owner}: ${error.code ?? error.message}`),
  );
}

const waiting = (count: number): Promise<unknown> => eventually(() => database.use().waiting === count);

test('statements take turns by whose they are: one waits for one of the hundreds that came before it', async () => {
  const strangers = Array.from({ length: 300 }, () => ask('stranger'));
  await waiting(300);
  const good = ask('good');
  await waiting(301);
  release();
  await good;
  expect(answered.slice(0, 3)).toContain('good');
  await Promise.all(strangers);
});

test('a statement whose caller is gone before anything was begun for them is dropped, and holds no place', async () => {
  const gone = new AbortController();
  const dropped = ask('stranger', requester('stranger', gone.signal));
  await waiting(1);
  gone.abort(new Error('the caller is gone'));
  await dropped;
  expect(answered).toEqual(['stranger: the caller is gone']);
  expect(database.use().waiting).toBe(0);
});

test('what was begun for a caller is brought to its end when they are gone', async () => {
  const gone = new AbortController();
  const begun = { ...requester('stranger', gone.signal), begun: true };
  const second = ask('stranger', begun);
  await waiting(1);
  gone.abort(new Error('the caller is gone'));
  release();
  await second;
  expect(answered).toEqual(['stranger']);
});

test('what many wait for is not dropped with the caller who came first', async () => {
  const gone = new AbortController();
  const shared = workFor(requester('stranger', gone.signal), () =>
    workForAll(() => database.query<{ n: number }>('SELECT 7 AS n')),
  );
  await waiting(1);
  gone.abort(new Error('the caller is gone'));
  release();
  expect(await shared).toEqual([{ n: 7 }]);
});

test('a timer that was set for a call works for nobody once the call is over', async () => {
  const over = requester('stranger', AbortSignal.abort(new Error('the caller is gone')));
  over.over = true;
  const late = ask('program', over);
  await waiting(1);
  release();
  await late;
  expect(answered).toEqual(['program']);
});

test('who gets no connection within as long as one may take to open is told that the database is away', async () => {
  const late = ask('good');
  await waiting(1);
  await clock.advance(4_999);
  expect(answered).toEqual([]);
  await clock.advance(1);
  await late;
  expect(answered).toEqual(['good: store.unavailable']);
});

(noPostgres === undefined ? test : test.skip)(
  'one owner never has all connections: another one gets the last at once',
  async () => {
    const real = await emptyDatabase();
    const pool = openDatabase(real.url, { poolSize: 3 });
    await pool.prepare();
    let end = (): void => undefined;
    const ended = new Promise<void>((resolve) => (end = resolve));
    const open: string[] = [];
    const hold = (owner: string): Promise<void> =>
      workFor(requester(owner), () =>
        pool.transaction(async () => {
          open.push(owner);
          await ended;
        }),
      );
    const all = [hold('stranger'), hold('stranger'), hold('stranger')];
    await eventually(() => open.length === 2);
    all.push(hold('good'));
    await eventually(() => open.includes('good'));
    expect(open).toEqual(['stranger', 'stranger', 'good']);
    end();
    await Promise.all(all);
    await pool.close();
    await real.stop();
  },
);
