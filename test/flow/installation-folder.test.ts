import { cpSync, existsSync, readdirSync, renameSync, writeFileSync } from 'node:fs';
import type { ChildProcess } from 'node:child_process';
import { Machine, PASSWORD } from '../support/machine';
import type { Ended } from '../support/machine';
import { testDatabase } from '../support/postgres';
import type { TestDatabase } from '../support/postgres';

let machine: Machine;
let database: TestDatabase;
beforeAll(async () => {
  machine = new Machine();
  database = await testDatabase();
  await machine.startService();
  await machine.stopService();
  cpSync(machine.server(), machine.path('here'), { recursive: true });
});
afterAll(async () => {
  await machine.remove();
  await database.stop();
});

/** Runs `sls up` with these arguments, and does the work once it is ready. */
async function whileUp(args: string[], work: (up: ChildProcess) => Promise<void>): Promise<Ended> {
  let working: Promise<void> | undefined;
  const ended = await machine.sls(['up', '--json', ...args], {
    onOutput(up, stdout) {
      if (!working && stdout.includes('"ready": true'))
        working = work(up).catch((error: unknown) => {
          up.kill('SIGINT');
          throw error;
        });
    },
  });
  await working;
  return ended;
}

test('a relative --dir, and relative paths of files, are taken from the working folder by every command', async () => {
  writeFileSync(machine.path('database-url'), database.url, { mode: 0o600 });
  cpSync(machine.server(), machine.path('relative'), { recursive: true });
  const ended = await whileUp(['--dir', 'relative', '--database-url-file', './database-url'], async (up) => {
    const dir = ['--dir', 'relative'];
    const results: Record<string, unknown> = {};
    for (const args of [
      ['admin', 'licence', 'list', ...dir],
      ['admin', 'nodes', 'list', ...dir],
      ['admin', 'audit', 'verify', ...dir],
      ['admin', 'trust-bundle', 'export', ...dir],
      ['admin', 'boot', 'list', ...dir],
      ['admin', 'licence', 'list', ...dir, '--address', 'unix:relative/run/admin.sock'],
      [
        'admin',
        'nodes',
        'list',
        '--admin-certificate',
        'relative/admin/certificate.pem',
        '--admin-key',
        './relative/admin/key.pem',
        '--address',
        'unix:./relative/run/admin.sock',
      ],
    ]) {
      const { code, stderr } = await machine.sls(args);
      if (code !== 0) results[args.join(' ')] = stderr;
    }
    up.kill('SIGINT');
    expect(results).toEqual({});
  });
  expect({ code: ended.code }).toEqual({ code: 0 });
});

test('a folder that is moved while sls up runs ends it with a word, nothing is made at the old place, and it goes on at the new one', async () => {
  const there = ['--dir', 'there'];
  const ended = await whileUp(['--dir', 'here'], async () => {
    const signup = ['signup', '--username', 'ada', '--password-stdin'];
    const trust = [
      '--trust',
      'here/trust-bundle.jws',
      '--trust-fingerprint',
      machine.elsewhere('x')['SLS_TRUST_FINGERPRINT'] as string,
    ];
    expect((await machine.sls([...signup, ...trust], { stdin: `${PASSWORD}\n` })).code).toBe(0);
    expect((await machine.sls(['login', ...trust])).code).toBe(0);
    renameSync(machine.path('here'), machine.path('there'));
  });
  expect(ended).toMatchObject({
    code: 1,
    stderr: expect.stringContaining(
      `sls: the installation's folder was moved while it ran: expected it at ${machine.path('here')}, got it at ${machine.path('there')}\n`,
    ) as string,
  });
  expect(ended.stderr).toContain(`sls up --dir ${machine.path('there')}\n`);
  expect(existsSync(machine.path('here'))).toBe(false);
  expect(await machine.leftOver()).toEqual([]);

  // With the accounts and workspaces that were there.
  const again = await whileUp(there, async (up) => {
    const login = await machine.sls(['login']);
    const users = await machine.sls(['exec', '-q', 'true']);
    up.kill('SIGINT');
    expect({ code: login.code, stderr: login.stderr }).toMatchObject({ code: 0 });
    expect(users.code).toBe(0);
  });
  expect(again.code).toBe(0);
  expect(readdirSync(machine.folder)).not.toContain('here');
});
