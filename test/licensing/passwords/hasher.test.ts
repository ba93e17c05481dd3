import { availableParallelism } from 'node:os';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PasswordHasher } from '../../../licensing/passwords/hasher';
import { checkNewPassword } from '../../../licensing/passwords/rules';
import { Threads } from '../../../licensing/passwords/threads';
import { built } from '../../support/built';

built('password-worker');
const hashers: PasswordHasher[] = [];

function open(options: { cost?: number; threads?: number; queue?: number } = {}): PasswordHasher {
  const hasher = new PasswordHasher({ cost: 4, threads: 2, queue: 100, ...options });
  hashers.push(hasher);
  return hasher;
}

const judge = open();

afterAll(() => Promise.all(hashers.map((hasher) => hasher.close())));

describe('a password', () => {
  test('is right, or wrong', async () => {
    const hasher = open();
    const stored = await hasher.hash('correct horse');
    expect(stored).toMatch(/^hmac-sha256\+bcrypt:\$2b\$04\$/);
    expect(await hasher.verify('correct horse', stored)).toBe(true);
    expect(await hasher.verify('correct hors', stored)).toBe(false);
    expect(await hasher.verify('', stored)).toBe(false);
    expect(await hasher.verify('correct horse', undefined)).toBe(false);
    expect(await hasher.hash('correct horse')).not.toBe(stored);
  });

  test('that shares its first 72 bytes with the right one is wrong', async () => {
    const hasher = open();
    const start = 'x'.repeat(72);
    const stored = await hasher.hash(`${start}one`);
    expect(await hasher.verify(`${start}two`, stored)).toBe(false);
    expect(await hasher.verify(start, stored)).toBe(false);
    expect(await hasher.verify(`${start}one`, stored)).toBe(true);
  });

  test('that is the same up to a NUL is wrong', async () => {
    const hasher = open();
    const stored = await hasher.hash('password\0one');
    expect(await hasher.verify('password\0two', stored)).toBe(false);
    expect(await hasher.verify('password', stored)).toBe(false);
  });

  test('is the same however a keyboard composes its letters', async () => {
    const hasher = open();
    const stored = await hasher.hash('caf\u00e9 caf\u00e9');
    expect(await hasher.verify('cafe\u0301 cafe\u0301', stored)).toBe(true);
  });

  test('of more than 1024 bytes is wrong, and never right by its beginning', async () => {
    const hasher = open();
    const stored = await hasher.hash('y'.repeat(1024));
    expect(await hasher.verify('y'.repeat(1024), stored)).toBe(true);
    expect(await hasher.verify('y'.repeat(1025), stored)).toBe(false);
    expect(await hasher.verify('y'.repeat(1025), await hasher.hash(''))).toBe(false);
  });

  test('is never right against a hash of another scheme', async () => {
    const hasher = open();
    const stored = await hasher.hash('correct horse');
    expect(await hasher.verify('correct horse', stored.slice('hmac-sha256+bcrypt:'.length))).toBe(false);
    expect(await hasher.verify('', '')).toBe(false);
  });
});

describe('after the cost setting was changed', () => {
  test('a hash of before is outdated, and right as ever', async () => {
    const stored = await open({ cost: 4 }).hash('correct horse');
    const hasher = open({ cost: 5 });
    expect(await hasher.verify('correct horse', stored)).toBe(true);
    expect(await hasher.verify('correct hors', stored)).toBe(false);
    expect(hasher.isOutdated(stored)).toBe(true);
    expect(hasher.isOutdated(await hasher.hash('correct horse'))).toBe(false);
  });

  test('a wrong password for an account of before takes as long as one for nobody', async () => {
    const stored = await open({ cost: 6 }).hash('correct horse');
    const hasher = open({ cost: 11, threads: 1 });
    const time = async (hash: string | undefined): Promise<number> => {
      const started = performance.now();
      await hasher.verify('wrong password', hash);
      return performance.now() - started;
    };
    await time(undefined);
    // In turns, and the shortest of each: other work of the machine makes some of them longer.
    const times: Array<[number, number]> = [];
    for (let i = 0; i < 8; i++) times.push([await time(stored), await time(undefined)]);
    const ratio = Math.min(...times.map(([known]) => known)) / Math.min(...times.map(([, unknown]) => unknown));
    expect(ratio).toBeGreaterThan(0.6);
    expect(ratio).toBeLessThan(1.7);
  });
});

test.each([
  ['seven77', 'signup.password_too_short'],
  ['', 'signup.password_too_short'],
  ['é'.repeat(7), 'signup.password_too_short'],
  ['x'.repeat(1025), 'signup.password_too_long'],
  ['é'.repeat(513), 'signup.password_too_long'],
  ['password1', 'signup.password_weak'],
  ['eight888', 'signup.password_weak'],
  ['qwertyuiop', 'signup.password_weak'],
  ['        ', 'signup.password_weak'],
  ['x'.repeat(1024), 'signup.password_weak'],
  ['ada.lovelace', 'signup.password_weak'],
  ['19840412', 'signup.password_weak'],
])('a new password %j is refused', async (password, code) => {
  await expect(checkNewPassword(judge, password, ['ada.lovelace'])).rejects.toMatchObject({ code });
});

test('a refusal says why, and never the password', async () => {
  const refusal = (password: string): Promise<string> =>
    checkNewPassword(judge, password, ['ada']).then(
      () => '',
      ({ message }: Error) => message,
    );
  expect(await refusal('password1')).toMatch(/too easy to guess: it is .*common/);
  for (const password of ['password1', 'qwertyuiop', '19840412'])
    expect(await refusal(password)).not.toContain(password);
});

test('the longest password costs its judge no more than a moment', async () => {
  await checkNewPassword(judge, 'correct horse battery', []);
  const started = performance.now();
  await checkNewPassword(judge, 'l3tm31n!p4ssw0rd12345678 qwertyuiop '.repeat(28), []).catch(() => undefined);
  expect(performance.now() - started).toBeLessThan(500);
});

test.each(['correct horse battery', 'Tr0ub4dour&3', 'zwölf Boxkämpfer jagen', 'kJ8#mQ2!xW'])(
  'a new password %j is taken',
  async (password) => {
    await expect(checkNewPassword(judge, password, ['ada'])).resolves.toBeUndefined();
  },
);

describe('hashing', () => {
  test('takes what threads and queue hold and refuses the rest at once', async () => {
    const hasher = open({ cost: 10, threads: 1, queue: 2 });
    const started = Date.now();
    const results = await Promise.all(
      Array.from({ length: 10 }, () =>
        hasher.hash('password').then(
          () => 'hashed',
          (error: { code: string }) => `${error.code} after ${Date.now() - started < 50 ? 'no time' : 'a wait'}`,
        ),
      ),
    );
    expect(results.filter((result) => result === 'hashed')).toHaveLength(3);
    expect(results.filter((result) => result === 'login.busy after no time')).toHaveLength(7);
    expect(await hasher.hash('password')).toBeTruthy();
  });

  test('leaves the thread of the service free', async () => {
    const hasher = open({ cost: 11, threads: availableParallelism(), queue: 10 });
    const work = Promise.all(Array.from({ length: 4 }, () => hasher.hash('password')));
    let longest = 0;
    let last = Date.now();
    const timer = setInterval(() => {
      longest = Math.max(longest, Date.now() - last);
      last = Date.now();
    }, 5);
    await work;
    clearInterval(timer);
    expect(longest).toBeLessThan(150);
  });

  test('of a caller that is gone is dropped from the queue, and makes room', async () => {
    const hasher = open({ cost: 10, threads: 1, queue: 1 });
    const first = hasher.hash('password');
    const controller = new AbortController();
    const second = hasher.hash('password', { signal: controller.signal });
    controller.abort(new Error('gone'));
    await expect(second).rejects.toThrow('gone');
    await expect(hasher.hash('password', { signal: controller.signal })).rejects.toThrow('gone');
    await expect(Promise.all([first, hasher.hash('password')])).resolves.toHaveLength(2);
  });

  test('goes on with a new thread when one crashed', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'sls-threads-'));
    const program = join(folder, 'worker.cjs');
    await writeFile(
      program,
      `const { parentPort } = require('node:worker_threads');
       parentPort.on('message', (work) => {
         if (work.prehash === 'exit') process.exit(1);
         if (work.prehash === 'throw') throw new Error('crash');
         if (work.prehash === 'hang') return;
         parentPort.postMessage({ value: work.prehash });
       });`,
    );
    const threads = new Threads({ program, threads: 1, queue: 10 });
    const hash = (prehash: string): Promise<unknown> => threads.run({ kind: 'hash', prehash, cost: 4 });
    const results = await Promise.allSettled(['a', 'exit', 'b', 'throw', 'c'].map(hash));
    expect(
      results.map((result) =>
        result.status === 'fulfilled' ? result.value : (result.reason as { code: string }).code,
      ),
    ).toEqual(['a', 'login.hashing_failed', 'b', 'login.hashing_failed', 'c']);
    const waiting = Promise.allSettled([hash('hang'), hash('d')]);
    await threads.close();
    expect((await waiting).every(({ status }) => status === 'rejected')).toBe(true);
    await expect(hash('e')).toRejectWithCode('login.hashing_failed');
    await rm(folder, { recursive: true });
  });
});
