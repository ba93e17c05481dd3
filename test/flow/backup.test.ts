import { existsSync, readdirSync, readFileSync, renameSync, statSync, writeFileSync } from 'node:fs';
import { generateIdentity, identityToRecipient } from 'age-encryption';
import { Machine, PASSWORD } from '../support/machine';
import type { Ended } from '../support/machine';

let machine: Machine;
let recipient: string;
beforeAll(async () => {
  machine = new Machine();
  const identity = await generateIdentity();
  recipient = await identityToRecipient(identity);
  writeFileSync(machine.path('key.txt'), `${identity}\n`, { mode: 0o600 });
  await machine.startService();
  await machine.signUpAndLogin('ada');
});
afterAll(() => machine.remove());

const backUp = (file: string): Promise<Ended> =>
  machine.sls(['admin', 'backup', '--recipient', recipient, '--out', machine.path(file), '--json']);
const restore = (file: string, ...more: string[]): Promise<Ended> =>
  machine.sls(['admin', 'restore', machine.path(file), '--identity', machine.path('key.txt'), '--json', ...more]);
const logIn = (password = PASSWORD): Promise<Ended> =>
  machine.sls(['login', '-q', '--username', 'ada', '--password-stdin'], { stdin: `${password}\n` });

test('a backup is made while the service runs, readable by nobody but its recipients', async () => {
  const { code, stdout, stderr } = await backUp('running.age');
  expect({ code, stderr }).toMatchObject({ code: 0 });
  expect(JSON.parse(stdout)).toMatchObject({ trustDomain: 'sls.local', database: { accounts: 1 } });
  const bytes = readFileSync(machine.path('running.age'));
  expect(bytes.subarray(0, 21).toString()).toBe('age-encryption.org/v1');
  expect(statSync(machine.path('running.age')).mode & 0o777).toBe(0o600);
  for (const secret of ['PRIVATE KEY', '"d":', 'ada']) expect(bytes.includes(secret)).toBe(false);
});

test('a file that is there is not written over, and no backup is made without a recipient', async () => {
  const before = readFileSync(machine.path('running.age'));
  expect(await backUp('running.age')).toMatchObject({ code: 2 });
  expect(readFileSync(machine.path('running.age')).equals(before)).toBe(true);
  const none = await machine.sls(['admin', 'backup', '--out', machine.path('none.age')]);
  expect(none).toMatchObject({ code: 2 });
  expect(none.stderr).toContain('expected --recipient age1…');
  const wrong = await machine.sls(['admin', 'backup', '--recipient', 'age1wrong', '--out', machine.path('none.age')]);
  expect(wrong.code).not.toBe(0);
  expect(existsSync(machine.path('none.age'))).toBe(false);
});

test('nothing is restored over an installation, without a word on what is lost, or from half a backup', async () => {
  expect((await restore('running.age')).stderr).toContain('expected --accept-lost-changes');
  expect((await restore('running.age', '--accept-lost-changes')).stderr).toContain(
    "expected a folder that isn't there",
  );
  writeFileSync(machine.path('half.age'), readFileSync(machine.path('running.age')).subarray(0, -1000));
  const elsewhere = machine.path('elsewhere');
  const half = await restore('half.age', '--accept-lost-changes', '--dir', elsewhere);
  expect(JSON.parse(half.stdout)).toMatchObject({ error: { code: 'backup.malformed' } });
  expect(readdirSync(machine.path()).filter((name) => name.startsWith('elsewhere'))).toEqual([]);
});

test('after a restore the accounts are as they were, sessions begin anew, and the log says that it went back', async () => {
  const trustKey = machine.trustBundle().trustKey;
  const changed = 'another horse battery staple';
  expect((await machine.sls(['passwd', '--password-stdin'], { stdin: `${PASSWORD}\n${changed}\n` })).code).toBe(0);
  expect((await machine.sls(['audit', 'check'])).code).toBe(0);
  await machine.stopService();
  renameSync(machine.server(), machine.path('broken'));

  const restored = await restore('running.age', '--accept-lost-changes', '--reason', 'the disk broke');
  expect(restored).toMatchObject({ code: 0 });
  expect(JSON.parse(restored.stdout)).toMatchObject({ trustDomain: 'sls.local', sessionsEnded: 1 });
  await machine.startService();
  expect(machine.trustBundle().trustKey).toEqual(trustKey);

  // The session that came back with the backup, and the one that the client has, are over.
  expect((await machine.sls(['exec', 'true'])).code).toBe(4);
  expect((await logIn(changed)).code).toBe(4);
  expect(await logIn()).toMatchObject({ code: 0 });
  expect((await machine.sls(['exec', '-q', '--', 'echo', 'here'])).stdout).toBe('here\n');

  const tail = await machine.sls(['admin', 'audit', 'tail', '--json']);
  const records = tail.stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as { kind: string; detail: Record<string, unknown> });
  expect(records.find(({ kind }) => kind === 'log.restored')?.detail).toMatchObject({ reason: 'the disk broke' });
  // This machine saw what is lost, and says so until it is told otherwise.
  const refused = await machine.sls(['audit', 'check', '--json']);
  expect((JSON.parse(refused.stdout) as { error: { code: string } }).error.code).toMatch(
    /^log\.(rolled_back|forked|record_missing)$/,
  );
  expect((await machine.sls(['audit', 'forget'])).code).toBe(0);
  expect((await machine.sls(['admin', 'audit', 'verify'])).code).toBe(0);
});

test('a backup is made where the service does not run', async () => {
  await machine.stopService();
  const { code, stdout } = await backUp('stopped.age');
  expect(code).toBe(0);
  expect(JSON.parse(stdout)).toMatchObject({ database: { accounts: 1 } });
  expect(existsSync(machine.server('up.pid'))).toBe(false);
});
