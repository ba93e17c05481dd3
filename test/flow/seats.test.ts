import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { Client } from 'pg';
import { built } from '../support/built';
import { eventually } from '../support/eventually';
import { Machine, PASSWORD } from '../support/machine';

/** Short, so that a test sees seats lapse, and long enough for a busy machine to send a heartbeat in a third of it. */
const SEAT_SECONDS = 12;
const GRACE_SECONDS = 15;
const SEATS = { DEFAULT_SEATS: '2', SEAT_SECONDS: String(SEAT_SECONDS), SEAT_GRACE_SECONDS: String(GRACE_SECONDS) };

let machine: Machine;
/** To look often: asking sls takes a process. */
let sql: Client;
const children: ChildProcess[] = [];
beforeAll(async () => {
  machine = new Machine();
  await machine.startService([], SEATS);
  await machine.signUpAndLogin('ada');
  sql = new Client({ connectionString: readFileSync(machine.server('run', 'database-url'), 'utf8').trim() });
  await sql.connect();
});
afterEach(async () => {
  for (const child of children.splice(0)) child.kill('SIGKILL');
  // What its clients could not give back: each test begins with all seats free.
  await sql.query("UPDATE seats SET expires_at = least(expires_at, clock_timestamp()) - interval '1 hour'");
});
afterAll(async () => {
  await sql.end();
  await machine.remove();
});

interface Listed {
  seats: Array<{ seat: string; enclave: string; clientName: string; workloadUid: string; expiresAt: string }>;
  taken: number;
  limit: number;
}
const list = async (): Promise<Listed> => JSON.parse((await machine.sls(['seats', 'list', '--json'])).stdout) as Listed;
const taken = async (): Promise<number> => (await list()).taken;
const live = async (): Promise<Array<{ id: string; expires: Date }>> =>
  (
    await sql.query<{ id: string; expires: Date }>(
      'SELECT id, expires_at AS expires FROM seats WHERE freed_at IS NULL AND expires_at > clock_timestamp()',
    )
  ).rows;

/** Until the seat that there is lives on beyond the end that it had: a heartbeat came. @returns its id */
async function renewed(): Promise<string> {
  const [first] = await live();
  const [seat] = await eventually(async () => {
    const seats = await live();
    return seats[0] && seats[0].expires > first!.expires && seats;
  });
  return seat!.id;
}

interface Running {
  child: ChildProcess;
  stdout: string;
  stderr: string;
  ended: Promise<number | null>;
  /** Lets the command come to its end. */
  finish(): Promise<void>;
}

let commands = 0;

/** Runs a command in the enclave that goes on until it is let go. Resolves when it runs. */
async function start(): Promise<Running> {
  const go = `go-${(commands += 1)}`;
  const child = spawn(
    process.execPath,
    [
      built('sls'),
      'exec',
      '-q',
      '--',
      'sh',
      '-c',
      `echo runs; while [ ! -e ${go} ]; do sleep 0.1; done; echo finished`,
    ],
    { cwd: machine.folder, env: machine.env, stdio: ['ignore', 'pipe', 'pipe'] },
  );
  children.push(child);
  const running: Running = {
    child,
    stdout: '',
    stderr: '',
    ended: new Promise((resolve) => child.once('close', resolve)),
    async finish() {
      expect((await machine.sls(['exec', 'touch', go])).code).toBe(0);
    },
  };
  child.stdout!.setEncoding('utf8').on('data', (text: string) => (running.stdout += text));
  child.stderr!.setEncoding('utf8').on('data', (text: string) => (running.stderr += text));
  await eventually(() => running.stdout.includes('runs'));
  return running;
}

test('a command has a seat while it runs, for longer than a seat lives without heartbeat, and none when it has ended', async () => {
  expect(await taken()).toBe(0);
  const running = await start();
  const { seats, limit } = await list();
  expect({ limit, seats }).toMatchObject({
    limit: 2,
    seats: [{ enclave: 'default', clientName: expect.any(String), workloadUid: expect.any(String) }],
  });
  expect(seats.map(({ seat }) => seat)).toEqual([await renewed()]);
  await running.finish();
  expect(await running.ended).toBe(0);
  expect(running).toMatchObject({ stdout: 'runs\nfinished\n', stderr: '' });
  expect(await taken()).toBe(0);
  // Also cp, login and whatever else connects has given its own back.
  const text = (await machine.sls(['seats', 'list'])).stdout;
  expect(text).toBe('0 of 2 seats of your account taken\n');
});

test('when all are taken, nothing of the next command is run: exit code 6, and a hint; who only looks needs none', async () => {
  await Promise.all([start(), start()]);
  const { code, stdout, stderr } = await machine.sls(['exec', 'touch', 'too-much']);
  expect({ code, stdout }).toEqual({ code: 6, stdout: '' });
  expect(stderr).toContain('sls: no seat is free: 2 of the 2 of your account are taken\n');
  expect(stderr).toContain(
    'hint: sls seats list shows yours; sls seats free ID gives up one whose session was lost; exec and cp wait for one with --wait SECONDS\n',
  );
  expect((await machine.sls(['cp', 'enclave:/etc/hostname', '-'])).code).toBe(6);
  expect((await machine.sls(['status', '--connect'])).code).toBe(0);
  for (const child of children.splice(0)) child.kill('SIGINT');
  await eventually(async () => (await live()).length === 0);
  expect((await machine.sls(['exec', 'test', '-e', 'too-much'])).code).toBe(1);
});

test('a login while all are taken says so, and leaves a session by which seats can be freed', async () => {
  await Promise.all([start(), start()]);
  const env = machine.elsewhere('other');
  const login = await machine.sls(['login', '--json', '--username', 'ada', '--password-stdin'], {
    stdin: `${PASSWORD}\n`,
    env,
  });
  expect(login.code).toBe(6);
  expect(JSON.parse(login.stdout)).toMatchObject({ error: { code: 'seat.none_free', exitCode: 6 } });
  expect(JSON.parse((await machine.sls(['seats', 'free', '--all', '--json'], { env })).stdout)).toEqual({ freed: 2 });
  // They are renewed no more, and count until their last tokens end; for this user while what runs by them has its grace, or until that has ended.
  expect((await machine.sls(['exec', 'true'], { env })).code).toBe(6);
  await eventually(async () => (await live()).length === 0);
  expect((await machine.sls(['exec', 'true'], { env })).code).toBe(6);
  for (const child of children.splice(0)) child.kill('SIGINT');
  await eventually(async () => (await machine.sls(['exec', 'true'], { env })).code === 0);
});

test('a client that is killed gives no heartbeat: its seat is free within the window', async () => {
  const { child } = await start();
  expect(await taken()).toBe(1);
  child.kill('SIGKILL');
  await eventually(async () => (await live()).length === 0);
});

test("what a client that was killed left is free at once for the next command of its user's: the enclave says that its connection is closed", async () => {
  const [one, two] = await Promise.all([start(), start()]);
  for (const { child, ended } of [one, two]) {
    child.kill('SIGKILL');
    await ended;
  }
  // All are taken, and nobody waits for their ends. That the enclave has noticed takes it a moment.
  const before = await live();
  expect(before).toHaveLength(2);
  await eventually(async () => (await machine.sls(['exec', 'true'])).code === 0);
  expect(Date.now()).toBeLessThan(Math.max(...before.map(({ expires }) => expires.getTime())));
});

test('one command after the other needs one seat: each is free when the next begins', async () => {
  await start();
  for (let round = 0; round < 3; round += 1) expect((await machine.sls(['exec', 'true'])).code).toBe(0);
  expect(await taken()).toBe(1);
});

test('an enclave that dies takes its seats along: who comes to the next one needs not wait for their end', async () => {
  const running = await start();
  process.kill(machine.pidOf('enclave.cjs'), 'SIGKILL');
  expect(await running.ended).toBe(6);
  expect((await machine.sls(['exec', 'true'])).code).toBe(0);
  expect(await taken()).toBe(0);
});

test('a seat that its user frees ends no command at once: it is told, and ended when the grace is over', async () => {
  const running = await start();
  const { seats } = await list();
  const free = await machine.sls(['seats', 'free', seats[0]!.seat]);
  expect({ code: free.code, stderr: free.stderr }).toEqual({ code: 0, stderr: 'sls: ok 1 seat is given up\n' });
  expect(await list()).toMatchObject({ taken: 1, seats: [{ seat: seats[0]!.seat, ended: true }] });
  await eventually(() => running.stderr.includes('lapsed'));
  expect(running.stderr).toContain('warning: the seat was not renewed: the seat was freed');
  const [, end = ''] =
    /sls: the seat of this session has lapsed: nothing new is begun, and what runs is ended at (\S+) unless there is a seat again\n/.exec(
      running.stderr,
    ) ?? [];
  expect(await running.ended).toBe(143);
  expect(Date.now()).toBeGreaterThanOrEqual(Date.parse(end));
  expect(running.stdout).toBe('runs\n');
});

test('while login is away commands go on, are told when their seat lapses, and stay when it is back in time', async () => {
  const running = await start();
  const login = machine.pidOf('login.cjs');
  process.kill(login, 'SIGSTOP');
  try {
    await eventually(() => running.stderr.includes('lapsed'));
  } finally {
    process.kill(login, 'SIGCONT');
  }
  await eventually(async () => (await live()).length === 1);
  await running.finish();
  expect(await running.ended).toBe(0);
  expect(running.stdout).toBe('runs\nfinished\n');
  expect(await taken()).toBe(0);
});

test('seats stay while the client CA, by which their tokens are signed, is replaced at once', async () => {
  const running = await start();
  const before = await list();
  expect((await machine.sls(['admin', 'rotate', 'client-ca', '--compromised'])).code).toBe(0);
  expect(before.seats.map(({ seat }) => seat)).toEqual([await renewed()]);
  await running.finish();
  expect(await running.ended).toBe(0);
  expect(running).toMatchObject({ stdout: 'runs\nfinished\n', stderr: '' });
});

test("a licence's seats are those of all who redeemed it", async () => {
  await machine.sls([
    'admin',
    'licence',
    'issue',
    '--plan',
    'team',
    '--days',
    '2',
    '--accounts',
    '2',
    '--seats',
    '1',
    '--reason',
    'test',
    '--out',
    'team.licence',
  ]);
  const bob = machine.elsewhere('bob');
  expect(
    (await machine.sls(['signup', '--username', 'bob', '--password-stdin'], { stdin: `${PASSWORD}\n`, env: bob })).code,
  ).toBe(0);
  expect((await machine.sls(['login'], { env: bob })).code).toBe(0);
  for (const env of [{}, bob])
    expect(await machine.sls(['redeem', 'team.licence'], { env })).toMatchObject({ code: 0 });
  const running = await start();
  const { code, stderr } = await machine.sls(['exec', 'true'], { env: bob });
  expect(code).toBe(6);
  expect(stderr).toContain('sls: no seat is free: 1 of the 1 of your licence are taken\n');
  expect(JSON.parse((await machine.sls(['seats', 'list', '--json'], { env: bob })).stdout)).toMatchObject({
    seats: [],
    limit: 1,
    taken: 1,
    licence: expect.any(String),
  });
  running.child.kill('SIGINT');
  await running.ended;
  expect((await machine.sls(['exec', 'true'], { env: bob })).code).toBe(0);
});

test('what is asked of seats in a wrong way says what is right', async () => {
  for (const args of [
    ['seats', 'free'],
    ['seats', 'free', 'x', '--all'],
  ]) {
    expect(await machine.sls(args)).toMatchObject({
      code: 2,
      stderr: 'sls: expected seat ids or --all\nhint: sls seats list shows them\n',
    });
  }
  const { code, stdout } = await machine.sls(['seats', 'free', 'x', '--json']);
  expect({ code, error: JSON.parse(stdout) as unknown }).toMatchObject({
    code: 1,
    error: { error: { code: 'seat.not_found' } },
  });
});
