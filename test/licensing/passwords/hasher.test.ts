import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PasswordHasher } from '../../../licensing/passwords/hasher';
import { checkNewPassword } from '../../../licensing/passwords/rules';
import { Threads } from '../../../licensing/passwords/threads';
import { built } from '../../support/built';
import { watchComparisons } from '../../support/hashing';

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

  test('a wrong password for an account of before costs the same hashing as one for nobody', async () => {
    const stored = await open({ cost: 4 }).hash('correct horse');
    const hasher = open({ cost: 7 });
    const compared = watchComparisons();
    await hasher.verify('wrong password', stored);
    await hasher.verify('wrong password', undefined);
    await hasher.verify('wrong password', await hasher.hash('correct horse'));
    // bcrypt's work doubles with each step of the cost: 16 + 16 + 32 + 64 are 128.
    expect(compared()).toEqual([[4, 4, 5, 6], [7], [7]]);
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

test.each(['correct horse battery', 'Tr0ub4dour&3', 'zwölf Boxkämpfer jagen', 'kJ8#mQ2!xW'])(
  'a new password %j is taken',
  async (password) => {
    await expect(checkNewPassword(judge, password, ['ada'])).resolves.toBeUndefined();
  },
);

describe('hashing', () => {
  test('takes what threads and queue hold and refuses the rest at once', async () => {
    const hasher = open({ cost: 10, threads: 1, queue: 2 });
    const results: string[] = [];
    await Promise.all(
      Array.from({ length: 10 }, () =>
        hasher.hash('password').then(
          () => results.push('hashed'),
          (error: { code: string }) => results.push(error.code),
        ),
      ),
    );
    // In the order in which they were answered.
    expect(results).toEqual([...Array<string>(7).fill('login.busy'), 'hashed', 'hashed', 'hashed']);
    expect(await hasher.hash('password')).toBeTruthy();
  });

  test('leaves the thread of the service free', async () => {
    // Seconds for any machine; nobody waits for them.
    const hasher = open({ cost: 17, threads: 1, queue: 10 });
    let ended = false;
    const work = hasher.hash('password').catch(() => undefined);
    void work.then(() => (ended = true));
    await new Promise(setImmediate);
    expect(ended).toBe(false);
    await hasher.close();
    await work;
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
