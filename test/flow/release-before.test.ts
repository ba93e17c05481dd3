import { cpSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { connect, login } from '../../client/index';
import type { Session, TrustBundle } from '../../client/index';
import { eventually } from '../support/eventually';
import { Machine, PASSWORD } from '../support/machine';
import type { Ended } from '../support/machine';
import { migratedDatabase, noPostgres } from '../support/postgres';
import { startProgram } from '../support/program';
import { copyOf, releaseBefore, thisRelease } from '../support/release-before';
import type { Programs } from '../support/release-before';

/** Runs sls of one of the releases. @throws Error with what it said, unless it ended well */
async function as(machine: Machine, programs: Programs, args: string[], stdin = ''): Promise<Ended> {
  machine.programs = programs;
  const ended = await machine.sls(args, { stdin });
  if (ended.code !== 0) throw new Error(`sls ${args.join(' ')} ended with ${ended.code}: ${ended.stderr}`);
  return ended;
}

const signup = (machine: Machine, programs: Programs): Promise<Ended> =>
  as(machine, programs, ['signup', '--username', 'ada', '--password-stdin'], `${PASSWORD}\n`);
const logIn = (machine: Machine, programs: Programs, ...args: string[]): Promise<Ended> =>
  as(machine, programs, ['login', '--username', 'ada', '--password-stdin', ...args], `${PASSWORD}\n`);

/** What a person does with a session that is there: works in the enclave, and looks after the audit log. */
async function work(machine: Machine, programs: Programs): Promise<void> {
  expect((await as(machine, programs, ['exec', '-q', '--', 'echo', 'ok'])).stdout).toBe('ok\n');
  await as(machine, programs, ['audit', 'check']);
}

const machines: Machine[] = [];
function newMachine(): Machine {
  const machine = new Machine();
  machines.push(machine);
  return machine;
}
afterEach(async () => {
  for (const machine of machines.splice(0)) await machine.remove();
});

(releaseBefore === undefined ? describe.skip : describe)('the release before', () => {
  const before = releaseBefore ?? { dist: '' };
  let now: Programs;
  beforeAll(() => void (now = thisRelease()));

  test('an installation is upgraded and rolled back: clients of both go on with their session, evidence and audit log', async () => {
    const machine = newMachine();
    machine.programs = before;
    await machine.startService();
    await signup(machine, before);
    await logIn(machine, before, '--evidence', machine.path('before.json'));
    await machine.stopService();

    machine.programs = now;
    await machine.startService();
    await work(machine, before);
    await work(machine, now);
    await logIn(machine, now, '--evidence', machine.path('now.json'));
    // The client alone is rolled back: it reads what the newer one wrote.
    await as(machine, before, ['seats', 'list']);
    await as(machine, before, ['sessions', 'list']);
    await machine.stopService();

    machine.programs = before;
    await machine.startService();
    await work(machine, before);
    await as(machine, now, ['seats', 'list']);
    await as(machine, now, ['sessions', 'list']);
    await logIn(machine, now);
    for (const programs of [before, now])
      for (const file of ['before.json', 'now.json']) await as(machine, programs, ['verify', machine.path(file)]);
    const { stdout } = await as(machine, now, ['audit', 'check', '--json']);
    const { logins } = JSON.parse(stdout) as { logins: Array<{ state: string }> };
    expect(new Set(logins.map(({ state }) => state))).toEqual(new Set(['logged']));
  });

  test('its programs are replaced one after the other, and back: each works with those of the other release', async () => {
    const machine = newMachine();
    const mixed = copyOf(before, machine.path('programs'));
    machine.programs = mixed;
    await machine.startService();
    await signup(machine, before);
    const replace = async (from: Programs, name: string, ...beside: string[]): Promise<void> => {
      for (const file of [name, ...beside]) cpSync(join(from.dist, `${file}.cjs`), join(mixed.dist, `${file}.cjs`));
      const running = machine.processes().filter(({ command }) => command.endsWith(`/${name}.cjs`));
      // The programs are started again by the launcher, and enclaves by the next login.
      for (const { pid } of running) process.kill(pid, 'SIGTERM');
      if (name === 'enclave') return;
      await eventually(() =>
        machine
          .processes()
          .some(({ command, pid }) => command.endsWith(`/${name}.cjs`) && running.every((old) => old.pid !== pid)),
      );
    };
    // As in a cluster: attestors first, and login before the enclaves that it starts.
    for (const from of [now, before]) {
      for (const [name, ...beside] of [
        ['attestor-daemon'],
        ['enrol'],
        ['signup', 'password-worker', 'password-judge'],
        ['login'],
        ['admin'],
        ['enclave'],
      ] as const) {
        await replace(from, name, ...beside);
        await retried(() => logIn(machine, from === now ? before : now));
        if (name === 'attestor-daemon' || name === 'enclave')
          expect((await as(machine, from, ['exec', '-q', '--', 'echo', name])).stdout).toBe(`${name}\n`);
      }
    }
  });

  const onServer = noPostgres === undefined ? test : test.skip;
  onServer('goes on by the schema of this one, with replicas of this one beside it', async () => {
    const database = await migratedDatabase();
    const machine = newMachine();
    writeFileSync(machine.path('database-url'), database.url);
    machine.programs = before;
    await machine.startService(['--database-url-file', machine.path('database-url')]);
    await signup(machine, before);
    await logIn(machine, before);
    await work(machine, before);

    const replicas = await Promise.all(
      ['signup', 'login'].map(async (name) => {
        machine.programs = before;
        const { PARENT_PIPE, READY_FILE, ...settings } = environmentOf(machine.pidOf(`/${name}.cjs`));
        return startProgram(name, { ...settings, LISTEN: 'https://127.0.0.1:0' });
      }),
    );
    try {
      const [ofSignup, ofLogin] = replicas.map(({ port }) => `https://localhost:${port}`) as [string, string];
      const bundle = machine.trustBundle();
      const newer = { ...bundle, services: { signup: ofSignup, login: ofLogin } };
      // As a load balancer does it: one call here, the next one there.
      let session: Session | undefined;
      for (let turn = 0; turn < 6; turn++) {
        const trust: TrustBundle = turn % 2 === 0 ? newer : bundle;
        const credential =
          session?.refreshToken === undefined
            ? { username: 'ada', password: PASSWORD }
            : { refreshToken: session.refreshToken };
        session = await login(trust, { credential });
        const other = turn % 3 === 0 ? bundle : newer;
        (await connect(other, session)).close();
      }
      await work(machine, before);
    } finally {
      for (const replica of replicas) await replica.stop();
      await machine.stopService();
      await database.stop();
    }
  });
});

function environmentOf(pid: number): Record<string, string> {
  const pairs = readFileSync(`/proc/${pid}/environ`, 'utf8')
    .split('\0')
    .filter((pair) => pair !== '');
  return Object.fromEntries(pairs.map((pair) => [pair.slice(0, pair.indexOf('=')), pair.slice(pair.indexOf('=') + 1)]));
}

/** Until a program that was just started serves. */
async function retried<T>(work: () => Promise<T>): Promise<T> {
  let last: unknown;
  return eventually(async () => {
    try {
      return await work();
    } catch (error) {
      last = error;
      return undefined;
    }
  }).catch((error: unknown) => {
    throw last ?? error;
  });
}
