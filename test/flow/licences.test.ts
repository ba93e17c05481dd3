import { existsSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { spawn } from '@lydell/node-pty';
import { openDatabase } from '../../licensing/store/database';
import { built } from '../support/built';
import { eventually } from '../support/eventually';
import { Machine, PASSWORD } from '../support/machine';
import type { Ended } from '../support/machine';

let machine: Machine;
beforeAll(async () => {
  machine = new Machine();
  await machine.startService();
  await machine.signUpAndLogin('ada');
});
afterAll(() => machine.remove());

async function json<T>(args: string[], options: Parameters<Machine['sls']>[1] = {}): Promise<T> {
  const { code, stdout, stderr } = await machine.sls([...args, '--json'], options);
  if (code !== 0) throw new Error(`sls ${args.join(' ')} ended with ${code}: ${stderr}`);
  return JSON.parse(stdout) as T;
}

const REQUIRED = ['--plan', 'team', '--reason', 'for a test'];
const issue = (...args: string[]): Promise<{ licence: string; key: string }> =>
  json(['admin', 'licence', 'issue', ...REQUIRED, ...args]);
const HOUR = 3600;
/** Has a licence end, and its grace days, so many seconds from now: no test waits for days. */
async function endsIn(licence: string, seconds: number, graceSeconds: number): Promise<void> {
  const database = openDatabase(readFileSync(machine.server('run', 'database-url'), 'utf8'), { poolSize: 1 });
  const [until, graceUntil] = [seconds, graceSeconds].map((offset) => new Date(Date.now() + offset * 1000)) as [
    Date,
    Date,
  ];
  await database.query('UPDATE licences SET valid_until = $2, grace_until = $3 WHERE id = $1', [
    licence,
    until,
    graceUntil,
  ]);
  await database.close();
}
const refused = ({ code, stderr }: Ended): { code: number | null; stderr: string } => ({ code, stderr });
/** Another person, at a machine of their own. */
const person = (name: string): Record<string, string> => ({
  ...machine.elsewhere(name),
  XDG_CONFIG_HOME: machine.path(`${name}-config`),
});
interface Listed {
  licences: Array<{
    licence: string;
    plan: { name: string; seats: number };
    state: string;
    applies: boolean;
    until: string;
  }>;
  required: boolean;
}

test('an administrator issues a licence; whoever has its key verifies it offline; its owner redeems it and works by it', async () => {
  const { licence, key } = await issue(
    '--days',
    '30',
    '--seats',
    '5',
    '--cpu',
    '2',
    '--memory',
    '4Gi',
    '--accounts',
    '2',
  );
  writeFileSync(machine.path('team.licence'), `${key}\n`);
  // Offline: no service is at these addresses.
  const offline = await machine.signBundle('offline.jws', {
    services: { signup: 'https://127.0.0.1:1', login: 'https://127.0.0.1:1' },
  });
  const env = person('offline');
  const shown = await json<object>(['licence', 'show', 'team.licence', ...offline], { env });
  expect(shown).toMatchObject({
    licence,
    plan: { name: 'team', seats: 5, enclaves: 4, cpu: '2', memory: '4Gi' },
    graceDays: 14,
    accounts: 2,
    trustDomain: 'sls.local',
  });
  expect(await json(['licence', 'show', '-', ...offline], { stdin: key, env })).toEqual(shown);
  const lines = (await machine.sls(['licence', 'show', 'team.licence'])).stdout;
  expect(lines).toMatch(new RegExp(`^${licence}  team  of sls\\.local, until 20.*\n.*images +any`));

  expect(await json(['licence'])).toEqual({ licences: [], required: false });
  expect((await machine.sls(['licence'])).stdout).toBe('no licence: you have what the operator gives everyone\n');
  expect(await json(['redeem', 'team.licence'])).toMatchObject({ licence, changed: true, applies: true });
  expect((await machine.sls(['redeem', '-'], { stdin: key })).stderr).toMatch(/was yours already: team, until 20/);
  expect((await json<Listed>(['licence'])).licences).toMatchObject([
    { licence, plan: { name: 'team', seats: 5 }, state: 'valid', applies: true },
  ]);
  const login = await machine.sls(['login']);
  expect(login.code).toBe(0);
  // Far from its end, nobody speaks of it.
  expect(login.stderr).not.toContain('licence');

  expect(await json(['status'])).toMatchObject({ licence: { licence, plan: 'team' } });
  expect((await machine.sls(['status'])).stdout).toMatch(/^licence +team, until 20/m);

  const [report] = await json<Array<{ redemptions: object[] }>>(['admin', 'licence', 'report', licence]);
  expect(report).toMatchObject({
    licence,
    state: 'valid',
    accounts: 2,
    redeemed: 1,
    redemptions: [{ username: 'ada' }],
  });
  expect((await machine.sls(['admin', 'licence', 'report', licence])).stdout).toMatch(
    /accounts +1 of 2\n[^]*ada \([0-9a-f-]{36}\) {2}since 20/,
  );
  expect((await json<object[]>(['admin', 'licence', 'list']))[0]).toMatchObject({
    licence,
    reason: 'for a test',
    issuedBy: 'local',
  });
});

test('a key is never taken from the command line, nor told by a message', async () => {
  const { key } = await issue('--days', '1');
  for (const command of [['redeem'], ['licence', 'show']]) {
    const { code, stderr } = await machine.sls([...command, key]);
    expect({ code, told: stderr.includes(key) }).toEqual({ code: 2, told: false });
    expect(stderr).toContain('got the key itself');
  }
  expect(refused(await machine.sls(['redeem']))).toMatchObject({
    code: 2,
    stderr: expect.stringContaining('no terminal on which to ask'),
  });
  expect(refused(await machine.sls(['redeem', 'not-there']))).toMatchObject({
    code: 2,
    stderr: expect.stringContaining('ENOENT'),
  });
  expect(refused(await machine.sls(['redeem', '-'], { stdin: ' \n' }))).toMatchObject({
    code: 2,
    stderr: expect.stringContaining('no licence key'),
  });
});

test('a forged key is refused before it is sent, with code and hint', async () => {
  const { key } = await issue('--days', '1');
  const [header, payload, signature] = key.split('.') as [string, string, string];
  const claims = JSON.parse(Buffer.from(payload, 'base64url').toString()) as { plan: { seats: number } };
  claims.plan.seats = 1000;
  writeFileSync(
    machine.path('forged'),
    `${header}.${Buffer.from(JSON.stringify(claims)).toString('base64url')}.${signature}`,
  );
  for (const args of [
    ['redeem', 'forged'],
    ['licence', 'show', 'forged'],
  ]) {
    const { code, stdout, stderr } = await machine.sls([...args, '--json']);
    expect(code).toBe(1);
    expect(JSON.parse(stdout)).toMatchObject({ error: { code: 'licence.signature', exitCode: 1 } });
    expect(stderr).toContain('\nhint: ');
  }
});

test('a full licence is refused with a hint; who gives theirs back makes room', async () => {
  const { licence, key } = await issue('--days', '1');
  await json(['redeem', '-'], { stdin: key });
  const grace = person('grace');
  await json(['signup', '--username', 'grace', '--password-stdin'], { stdin: `${PASSWORD}\n`, env: grace });
  const full = await machine.sls(['redeem', '-'], { stdin: key, env: grace });
  expect(full.code).toBe(1);
  expect(full.stderr).toMatch(/the licence is for 1 account, and has one\nhint: .*sls licence drop/);
  expect(await json(['licence', 'drop', licence])).toEqual({ licence, dropped: true });
  expect(await json(['redeem', '-'], { stdin: key, env: grace })).toMatchObject({ changed: true });
});

test('where a licence is near its end, and in its grace days, every command says so on standard error, and works', async () => {
  const { licence, key } = await issue('--days', '30');
  const alan = person('alan');
  await json(['signup', '--username', 'alan', '--password-stdin'], { stdin: `${PASSWORD}\n`, env: alan });
  await json(['redeem', '-'], { stdin: key, env: alan });
  await endsIn(licence, HOUR, 2 * HOUR);
  expect((await machine.sls(['login', '--quiet'], { env: alan })).stderr).toMatch(
    /warning: your licence \(team\) ends at 20.*sls redeem\n/,
  );
  await endsIn(licence, -HOUR, HOUR);
  const ended = /warning: your licence \(team\) ended at 20.*; logins work until 20/;
  const login = await machine.sls(['login', '--json'], { env: alan });
  expect({ code: login.code, stderr: login.stderr }).toEqual({ code: 0, stderr: expect.stringMatching(ended) });
  expect(JSON.parse(login.stdout)).toMatchObject({ username: 'alan' });
  const exec = await machine.sls(['exec', 'echo', 'still here'], { env: alan });
  expect(exec).toMatchObject({ code: 0, stdout: 'still here\n', stderr: expect.stringMatching(ended) });
  expect((await json<Listed>(['licence'], { env: alan })).licences).toMatchObject([{ licence, state: 'grace' }]);
  expect((await machine.sls(['status'], { env: alan })).stdout).toMatch(
    /^licence +team, ENDED at 20.*, logins work until 20/m,
  );
});

test('when it is over, new logins are refused, and what runs goes on; another one lets in again', async () => {
  const { licence, key } = await issue('--days', '30', '--seats', '2');
  const edsger = person('edsger');
  await json(['signup', '--username', 'edsger', '--password-stdin'], { stdin: `${PASSWORD}\n`, env: edsger });
  await json(['redeem', '-'], { stdin: key, env: edsger });
  expect((await machine.sls(['login'], { env: edsger })).code).toBe(0);
  let started: () => void = () => undefined;
  const runs = new Promise<void>((resolve) => (started = resolve));
  const running = machine.sls(
    ['exec', 'sh', '-c', 'echo started; until test -e go; do sleep 0.2; done; echo finished'],
    { env: edsger, onOutput: () => started() },
  );
  await runs;
  expect(await json<object[]>(['admin', 'licence', 'report', licence])).toMatchObject([{ seatsInUse: 1, redeemed: 1 }]);
  await endsIn(licence, -HOUR, -HOUR);
  const login = await machine.sls(['login', '--json'], { env: edsger });
  expect(login.code).toBe(1);
  expect(JSON.parse(login.stdout)).toMatchObject({ error: { code: 'licence.expired' } });
  expect(login.stderr).toMatch(new RegExp(`your licence ${licence} \\(team\\) expired at 20.*\nhint: .*sls redeem`));
  // The file still says that it is good: what counts is what the service says.
  expect(await json(['status'], { env: edsger })).toMatchObject({ session: 'good', licence: { state: 'expired' } });
  expect((await machine.sls(['status'], { env: edsger })).stdout).toMatch(/^licence +team, EXPIRED at 20/m);
  // Its session is good for its hour, and tells how things stand.
  const file = machine.path('edsger', 'sls', 'session.json');
  const saved = JSON.parse(readFileSync(file, 'utf8')) as { session: { licence: object } };
  expect(saved.session.licence).toMatchObject({ licence, plan: 'team' });
  saved.session.licence = { ...saved.session.licence, until: 1_700_000_000, graceUntil: 1_700_000_001 };
  writeFileSync(file, JSON.stringify(saved));
  const exec = await machine.sls(['exec', 'touch', 'go'], { env: edsger });
  expect({ code: exec.code, stderr: exec.stderr }).toEqual({
    code: 0,
    stderr: expect.stringMatching(/ended at 20.*; running enclaves continue, but logins are refused/),
  });
  expect(await running).toMatchObject({ code: 0, stdout: 'started\nfinished\n' });
  await json(['redeem', '-'], { stdin: (await issue('--days', '100')).key, env: edsger });
  const again = await machine.sls(['login'], { env: edsger });
  expect({ code: again.code, told: again.stderr.includes('licence') }).toEqual({ code: 0, told: false });
});

test('status says of a licence what has become of it since the login', async () => {
  const { licence, key } = await issue('--days', '100');
  const frances = person('frances');
  await json(['signup', '--username', 'frances', '--password-stdin'], { stdin: `${PASSWORD}\n`, env: frances });
  await json(['redeem', '-'], { stdin: key, env: frances });
  expect((await machine.sls(['login'], { env: frances })).code).toBe(0);
  const status = async (): Promise<string> => (await machine.sls(['status'], { env: frances })).stdout;
  expect(await status()).toMatch(/^licence +team, until 20/m);
  await json(['admin', 'licence', 'revoke', licence, '--reason', 'unpaid']);
  expect(await status()).toMatch(/^licence +team, REVOKED$/m);
  // From another machine, so that this one's file does not know.
  const drop = ['licence', 'drop', licence, '--username', 'frances', '--password-stdin'];
  expect((await machine.sls(drop, { stdin: `${PASSWORD}\n`, env: person('attic') })).code).toBe(0);
  expect(await status()).toMatch(/^licence +team, GIVEN BACK$/m);
});

test('a revoked one is refused at the next login, and its user does without where that is allowed, by password too', async () => {
  const { licence, key } = await issue('--days', '30');
  const barbara = person('barbara');
  await json(['signup', '--username', 'barbara', '--password-stdin'], { stdin: `${PASSWORD}\n`, env: barbara });
  await json(['redeem', '-'], { stdin: key, env: barbara });
  expect(await json(['admin', 'licence', 'revoke', licence, '--reason', 'unpaid'])).toEqual({ licence, changed: true });
  expect(await json(['admin', 'licence', 'revoke', licence, '--reason', 'unpaid'])).toEqual({
    licence,
    changed: false,
  });
  expect(refused(await machine.sls(['login'], { env: barbara }))).toMatchObject({
    code: 1,
    stderr: expect.stringMatching(/was revoked\nhint: ask your operator/),
  });
  // Logged out everywhere: what is left is the password.
  const elsewhere = person('elsewhere');
  expect(refused(await machine.sls(['licence', 'drop', licence], { env: elsewhere }))).toMatchObject({ code: 4 });
  const args = ['licence', 'drop', licence, '--username', 'barbara', '--password-stdin'];
  expect(refused(await machine.sls(args, { stdin: 'wrong horse battery\n', env: elsewhere }))).toMatchObject({
    code: 4,
  });
  expect((await machine.sls(args, { stdin: `${PASSWORD}\n`, env: elsewhere })).code).toBe(0);
  expect((await machine.sls(['login'], { env: barbara })).code).toBe(0);
});

test("a key is written to a file that is its owner's alone, and to none that is there already", async () => {
  const args = ['admin', 'licence', 'issue', ...REQUIRED, '--days', '1', '--out', machine.path('new.licence')];
  const { licence } = await json<{ licence: string }>(args);
  expect(statSync(machine.path('new.licence')).mode & 0o777).toBe(0o600);
  expect(await json(['licence', 'show', 'new.licence'])).toMatchObject({ licence });
  expect((await machine.sls(args)).code).toBe(2);
  expect(await json(['licence', 'show', 'new.licence'])).toMatchObject({ licence });
  // And no licence was issued whose key nobody has.
  expect((await json<object[]>(['admin', 'licence', 'list']))[0]).toMatchObject({ licence, state: 'valid' });
});

test.each([
  [['--days', '0'], '--days from 1'],
  [[], '--days DAYS and --until TIME'],
  [['--days', '1', '--until', '2030-01-01'], 'exactly one of'],
  [['--until', 'soon'], 'ISO 8601'],
  [['--days', '1', '--seats', 'many'], '--seats from 1'],
])('sls admin licence issue %s is a wrong usage', async (args, message) => {
  const { code, stderr } = await machine.sls(['admin', 'licence', 'issue', ...REQUIRED, ...args]);
  expect({ code, stderr }).toEqual({ code: 2, stderr: expect.stringContaining(message) });
});

test('the licence key is of the installation alone: 0600, its public half in the trust bundle, replaced by overlap', async () => {
  expect(statSync(machine.server('keys', 'licence-keys.json')).mode & 0o777).toBe(0o600);
  const bundle = readFileSync(machine.server('trust-bundle.json'), 'utf8');
  const [{ d }] = (
    JSON.parse(readFileSync(machine.server('keys', 'licence-keys.json'), 'utf8')) as { keys: [{ d: string }] }
  ).keys;
  expect(bundle).not.toContain(d);
  const before = await issue('--days', '1');
  expect((await machine.sls(['admin', 'rotate', 'licence-key'])).code).toBe(0);
  expect(
    (JSON.parse(readFileSync(machine.server('trust-bundle.json'), 'utf8')) as { licenceKeys: { keys: object[] } })
      .licenceKeys.keys,
  ).toHaveLength(2);
  const trust = ['--trust', machine.server('trust-bundle.jws')];
  expect(await json(['redeem', '-', ...trust], { stdin: before.key })).toMatchObject({ changed: true });
  expect((await machine.sls(['admin', 'rotate', 'licence-key', '--compromised'])).code).toBe(0);
  // The service signs by the new key as soon as it has seen the file.
  const after = await eventually(async () => {
    const issued = await issue('--days', '1');
    return (await machine.sls(['licence', 'show', '-', ...trust], { stdin: issued.key })).code === 0 && issued;
  });
  expect(await json(['licence', 'show', '-', ...trust], { stdin: after.key })).toMatchObject({
    licence: after.licence,
  });
  expect((await machine.sls(['licence', 'show', '-', ...trust], { stdin: before.key })).stderr).toMatch(
    /no licence key of the trust bundle\nhint: /,
  );
  // What was redeemed by the old key stays.
  expect((await json<Listed>(['licence', ...trust])).licences.map(({ licence }) => licence)).toContain(before.licence);
  expect(existsSync(machine.server('licence-keys.json'))).toBe(false);
});

test('where a licence is required, nobody logs in without one, and whoever has a key gets in, with a session or without', async () => {
  await machine.stopService();
  await machine.startService(['--licence-required']);
  const barbara = person('barbara-2');
  await json(['signup', '--username', 'barbara2', '--password-stdin'], { stdin: `${PASSWORD}\n`, env: barbara });
  expect(refused(await machine.sls(['login'], { env: barbara }))).toEqual({
    code: 1,
    stderr: expect.stringMatching(/a licence is needed here, and your account has none\nhint: .*sls redeem/),
  });
  expect((await machine.sls(['licence'], { env: barbara })).stdout).toBe('no licence: you need one to log in\n');
  const { key } = await issue('--days', '1');
  writeFileSync(machine.path('key'), key);
  // From a machine where they never were: a login is what they lack.
  const elsewhere = person('elsewhere-2');
  const redeemed = await machine.sls(['redeem', 'key', '--username', 'barbara2', '--password-stdin'], {
    stdin: `${PASSWORD}\n`,
    env: elsewhere,
  });
  expect(redeemed).toMatchObject({ code: 0, stderr: expect.stringContaining('is yours: team') });
  expect((await machine.sls(['login'], { env: barbara })).code).toBe(0);
});

test('on a terminal the key is asked for, and name and password where nobody is logged in; secrets are not shown', async () => {
  const { licence, key } = await issue('--days', '1');
  await json(['signup', '--username', 'terry', '--password-stdin'], { stdin: `${PASSWORD}\n`, env: person('terry') });
  const env = { ...machine.env, ...person('terry-elsewhere'), TERM: 'xterm' };
  const terminal = spawn(process.execPath, [built('sls'), 'redeem'], { cwd: machine.folder, env, cols: 200 });
  const answers: Array<[string, string]> = [
    ['Licence key: ', key],
    ['Username: ', 'terry'],
    ['Password: ', PASSWORD],
  ];
  let seen = '';
  terminal.onData((text) => {
    seen += text;
    const [question, answer] = answers[0] ?? ['\0', ''];
    if (!seen.includes(question)) return;
    answers.shift();
    terminal.write(`${answer}\r`);
  });
  const code = await new Promise<number>((resolve) => terminal.onExit(({ exitCode }) => resolve(exitCode)));
  expect({ code, seen }).toEqual({ code: 0, seen: expect.stringContaining(`licence ${licence} is yours: team`) });
  expect(seen).not.toContain(key.slice(-20));
  expect(seen).not.toContain(PASSWORD);
});
