import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { randomUUID } from 'node:crypto';
import { createServer } from 'node:net';
import type { AddressInfo, Socket } from 'node:net';
import { lockFile } from '../../runtime/config/lock-file';
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

interface Saved {
  session: {
    accessToken: string;
    accessTokenExpiresAt: number;
    refreshToken: string;
    clientKey: string;
    enclave: { workloadUid: string };
  };
}

const file = (state = 'state'): string => machine.path(state, 'sls', 'session.json');
const read = (state?: string): Saved => JSON.parse(readFileSync(file(state), 'utf8')) as Saved;
const write = (saved: Saved, state?: string): void => writeFileSync(file(state), JSON.stringify(saved));

/** As minutes later: the access token is over. */
function outliveAccessToken(state?: string): void {
  const saved = read(state);
  saved.session.accessTokenExpiresAt = Math.floor(Date.now() / 1000) - 1;
  write(saved, state);
}

/** Another machine of the same person's. */
const other = (name: string): Record<string, string> => machine.elsewhere(name);
const logIn = (name: string): Promise<Ended> =>
  machine.sls(['login', '-q', '--username', 'ada', '--password-stdin'], { stdin: `${PASSWORD}\n`, env: other(name) });

const untilRefused = (name: string): Promise<Ended> =>
  eventually(async () => {
    const ended = await machine.sls(['exec', 'true'], { env: other(name) });
    return ended.code !== 0 && ended;
  });

interface Listed {
  session: string;
  clientName: string;
  clientAddress: string;
  current: boolean;
}
const list = async (env?: Record<string, string>): Promise<Listed[]> =>
  JSON.parse((await machine.sls(['sessions', 'list', '--json'], { env })).stdout) as Listed[];

test('exec goes on when the access token is over and the enclave is gone: the session is refreshed, and the new tokens are kept, 0600', async () => {
  const before = read().session;
  outliveAccessToken();
  process.kill(machine.pidOf('enclave.cjs'), 'SIGKILL');
  const { code, stdout } = await machine.sls(['exec', 'echo', 'still here']);
  expect({ code, stdout }).toEqual({ code: 0, stdout: 'still here\n' });
  const after = read().session;
  expect(after.enclave.workloadUid).not.toBe(before.enclave.workloadUid);
  expect(after.refreshToken).not.toBe(before.refreshToken);
  expect(after.accessToken).not.toBe(before.accessToken);
  expect(after.clientKey).not.toBe(before.clientKey);
  expect(statSync(file()).mode & 0o777).toBe(0o600);
});

test('two commands that refresh at once both go on', async () => {
  outliveAccessToken();
  process.kill(machine.pidOf('enclave.cjs'), 'SIGKILL');
  const both = await Promise.all(['a', 'b'].map((word) => machine.sls(['exec', '-q', 'echo', word])));
  expect(both.map(({ code, stdout }) => ({ code, stdout }))).toEqual([
    { code: 0, stdout: 'a\n' },
    { code: 0, stdout: 'b\n' },
  ]);
  expect((await list()).filter(({ current }) => current)).toHaveLength(1);
});

test('new tokens that never arrived, because the network or the machine failed at that moment, cost nobody the session', async () => {
  const before = readFileSync(file(), 'utf8');
  const [session] = await list();
  expect((await machine.sls(['login', '-q'])).code).toBe(0);
  writeFileSync(file(), before);
  outliveAccessToken();
  expect((await list()).filter(({ current }) => current)).toMatchObject([{ session: session!.session }]);
  writeFileSync(file(), before);
  expect((await machine.sls(['login', '-q'])).code).toBe(0);
  expect((await machine.sls(['exec', '-q', 'echo', 'still here'])).stdout).toBe('still here\n');
});

test('sls login with a saved session asks for no password and goes on with that session', async () => {
  const [before] = await list();
  outliveAccessToken();
  expect((await machine.sls(['login', '-q'])).code).toBe(0);
  expect(await list()).toMatchObject([{ session: before!.session, current: true }]);
});

test('sls sessions list shows every machine; revoke ends one at once: it gets no token, and its client refuses to connect', async () => {
  expect((await logIn('desk')).code).toBe(0);
  const sessions = await list();
  expect(sessions).toHaveLength(2);
  expect(sessions[0]).toMatchObject({ clientName: expect.stringMatching(/./), clientAddress: '127.0.0.1' });
  const { session } = sessions.find(({ current }) => !current)!;
  expect((await machine.sls(['sessions', 'revoke', session])).code).toBe(0);
  // Its certificate is good for most of an hour, its access token for minutes.
  // A list that is a second old may still be handed out.
  const refused = await untilRefused('desk');
  expect(refused).toMatchObject({ code: 4, stderr: expect.stringContaining('the session has ended') });
  expect(refused.stderr).not.toContain('attestation refused');
  outliveAccessToken('desk');
  for (const args of [
    ['sessions', 'list'],
    ['login', '--username', 'ada'],
  ])
    expect((await machine.sls(args, { env: other('desk') })).code).toBeGreaterThan(0);
  expect((await machine.sls(['sessions', 'revoke', session])).code).toBe(1);
  expect((await machine.sls(['exec', '-q', 'true'])).code).toBe(0);
});

test('sls passwd ends all other sessions, and the old password with them', async () => {
  expect((await logIn('phone')).code).toBe(0);
  const wrong = await machine.sls(['passwd', '--password-stdin'], {
    stdin: 'not the password\nquite another password\n',
  });
  expect(wrong).toMatchObject({ code: 4, stderr: expect.stringContaining('old password is wrong') });
  const { code, stderr } = await machine.sls(['passwd', '--password-stdin'], {
    stdin: `${PASSWORD}\nquite another password\n`,
  });
  expect({ code, stderr }).toEqual({ code: 0, stderr: 'sls: ok the password is changed; 1 other session ended\n' });
  // About the session, not about the enclave.
  const refused = await untilRefused('phone');
  expect(refused).toMatchObject({
    code: 4,
    stderr: expect.stringMatching(/^sls: the session has ended\nhint: log in again: sls login\n$/m),
  });
  expect(refused.stderr).not.toContain('attestation refused');
  expect((await logIn('phone')).code).toBe(4);
  expect((await machine.sls(['exec', '-q', 'true'])).code).toBe(0);
  // This machine goes on by the token that the change gave.
  outliveAccessToken();
  expect((await machine.sls(['sessions', 'list', '-q'])).code).toBe(0);
  await machine.sls(['passwd', '-q', '--password-stdin'], { stdin: `quite another password\n${PASSWORD}\n` });
});

test('sls status asks whether the session is still good, and ends with 4 where it is not', async () => {
  expect((await logIn('desk')).code).toBe(0);
  const status = (...args: string[]): Promise<Ended> => machine.sls(['status', ...args], { env: other('desk') });
  expect(await status()).toMatchObject({ code: 0, stderr: '', stdout: expect.stringMatching(/^session +good$/m) });
  const [session] = (await list(other('desk'))).filter(({ current }) => current);
  expect((await machine.sls(['sessions', 'revoke', session!.session])).code).toBe(0);
  expect(await status()).toMatchObject({
    code: 4,
    stdout: expect.stringMatching(/^username +ada\nsession +ENDED: the session has ended$/m),
    stderr: 'sls: the session has ended\nhint: log in again: sls login\n',
  });
  const { code, stdout } = await status('--json');
  expect({ code, json: JSON.parse(stdout) as unknown }).toMatchObject({ code: 4, json: { session: 'ended' } });
  expect(await status('--offline')).toMatchObject({
    code: 0,
    stderr: '',
    stdout: expect.stringMatching(/^session +not known: not asked$/m),
  });
  // By its time alone.
  const saved = JSON.parse(readFileSync(file('desk'), 'utf8')) as { session: Record<string, unknown> };
  Object.assign(saved.session, { accessTokenExpiresAt: 1, refreshTokenExpiresAt: 1 });
  writeFileSync(file('desk'), JSON.stringify(saved));
  expect((await status('--offline')).code).toBe(4);
  await machine.sls(['logout'], { env: other('desk') });
});

describe('whatever takes the place of a session ends it: nothing here could end it later', () => {
  const person = (name: string): ((...line: string[]) => Promise<Ended>) => {
    return async (...line) =>
      machine.sls(line, { stdin: `${PASSWORD}\n`, env: { ...other(name), SLS_ENCLAVE: undefined } });
  };
  const sessionsOf = async (name: string): Promise<number> => (await list(other(name))).length;
  const signUp = async (name: string, place = name): Promise<void> => {
    const ended = await person(place)('signup', '-q', '--username', name, '--password-stdin');
    expect({ code: ended.code, stderr: ended.stderr }).toEqual({ code: 0, stderr: '' });
  };

  test('a login by password, of the session that sign-up began', async () => {
    await signUp('barbara');
    expect((await person('barbara')('login', '--username', 'barbara', '--password-stdin')).code).toBe(0);
    expect(await sessionsOf('barbara')).toBe(1);
  });

  test('a login that goes on with the session of a sign-up, of the session of the login before', async () => {
    await signUp('claude');
    const claude = person('claude');
    expect((await claude('login')).code).toBe(0);
    cpSync(machine.path('claude'), machine.path('claude-copy'), { recursive: true });
    await signUp('dennis', 'claude');
    expect((await claude('login', '--username', 'dennis')).code).toBe(0);
    expect(await sessionsOf('claude')).toBe(1);
    expect((await machine.sls(['sessions', 'list'], { env: other('claude-copy') })).code).toBe(4);
  });

  test('a sign-up, of the session of a sign-up before', async () => {
    await signUp('edith');
    cpSync(machine.path('edith'), machine.path('edith-copy'), { recursive: true });
    expect((await machine.sls(['sessions', 'list'], { env: other('edith-copy') })).code).toBe(0);
    await signUp('frances', 'edith');
    expect((await machine.sls(['sessions', 'list'], { env: other('edith-copy') })).code).toBe(4);
  });

  test('six logins at once: one session is left, the one that is kept', async () => {
    await signUp('grace');
    const grace = person('grace');
    expect((await grace('login')).code).toBe(0);
    const login = ['login', '-q', '--username', 'grace', '--password-stdin'];
    const six = await Promise.all(Array.from({ length: 6 }, () => grace(...login)));
    expect(six.map(({ code }) => code)).toEqual([0, 0, 0, 0, 0, 0]);
    expect(await list(other('grace'))).toMatchObject([{ current: true }]);
    expect((await grace('exec', '-q', 'true')).code).toBe(0);
  });

  describe('a login that is killed after the service has answered, and before it is kept', () => {
    const begun = (name: string): string[] =>
      readdirSync(machine.path(name, 'sls')).filter((entry) => entry.startsWith('begun-'));
    const kill = async (name: string): Promise<void> => {
      await signUp(name, `${name}-first`);
      await eventually(async () => {
        await machine.sls(['login', '--verbose', '--username', name, '--password-stdin'], {
          stdin: `${PASSWORD}\n`,
          env: { ...other(name), SLS_ENCLAVE: undefined },
          onStart: (child) =>
            child.stderr!.on('data', (text: Buffer) => /signature/.test(String(text)) && child.kill('SIGKILL')),
        });
        if (begun(name).length === 1 && !existsSync(file(name))) return true;
        // It was faster.
        await person(name)('logout');
        return false;
      });
      expect(await sessionsOf(`${name}-first`)).toBe(2);
    };

    test('is ended by the next login', async () => {
      await kill('joan');
      expect((await person('joan')('login', '--username', 'joan', '--password-stdin')).code).toBe(0);
      expect(await sessionsOf('joan')).toBe(2);
      expect(begun('joan')).toEqual([]);
    });

    test('or by a logout', async () => {
      await kill('karen');
      await person('karen')('logout');
      expect(await sessionsOf('karen-first')).toBe(1);
      expect(begun('karen')).toEqual([]);
    });

    test('but not where it was kept, or goes on', async () => {
      await signUp('mary');
      const mary = person('mary');
      const login = ['login', '-q', '--username', 'mary', '--password-stdin'];
      expect((await mary(...login)).code).toBe(0);
      const { session } = read('mary');
      const { services, serverRoots } = machine.trustBundle();
      const note = machine.path('mary', 'sls', `begun-${randomUUID()}.json`);
      writeFileSync(note, JSON.stringify({ ...session, services, serverRoots }));
      expect((await mary('login', '-q', '--enclave', 'lab')).code).toBe(0);
      expect({ left: begun('mary'), sessions: await sessionsOf('mary') }).toEqual({ left: [], sessions: 1 });
      // Another one's, which is locked.
      await signUp('mary-other');
      const theirs = JSON.parse(readFileSync(machine.path('mary-other', 'sls', 'token.json'), 'utf8')) as object;
      writeFileSync(note, JSON.stringify({ ...theirs, services, serverRoots }));
      const lock = await lockFile(note);
      expect((await mary(...login)).code).toBe(0);
      expect({ left: begun('mary').length, sessions: await sessionsOf('mary-other') }).toEqual({
        left: 1,
        sessions: 1,
      });
      await lock?.release();
      expect((await mary(...login)).code).toBe(0);
      expect(begun('mary')).toEqual([]);
      expect((await machine.sls(['sessions', 'list'], { env: other('mary-other') })).code).toBe(4);
    });
  });

  test('a login whose session other enclaves went on with: their next command goes on with the new one', async () => {
    await signUp('hedy');
    const hedy = person('hedy');
    expect((await hedy('login')).code).toBe(0);
    expect((await hedy('login', '--enclave', 'gpu-lab')).code).toBe(0);
    expect((await hedy('login', '--username', 'hedy', '--password-stdin')).code).toBe(0);
    // Lists of the last second may not have the old one yet.
    const lab = await eventually(async () => {
      const ended = await hedy('exec', '--enclave', 'gpu-lab', 'echo', 'on');
      expect({ code: ended.code, stdout: ended.stdout }).toEqual({ code: 0, stdout: 'on\n' });
      return ended.stderr.includes('the session has ended: logging in again') && ended;
    });
    expect(lab.stderr).not.toContain('attestation refused');
    expect(await sessionsOf('hedy')).toBe(1);
  });

  test('the end of an enclave, of the session of its login, unless another enclave goes on with that', async () => {
    await signUp('irene');
    const irene = person('irene');
    expect((await irene('login', '--enclave', 'first')).code).toBe(0);
    expect((await irene('login', '--enclave', 'second')).code).toBe(0);
    expect((await irene('enclaves', 'delete', 'first', '--yes')).code).toBe(0);
    expect(await sessionsOf('irene')).toBe(1);
    expect((await irene('exec', '--enclave', 'second', '-q', 'true')).code).toBe(0);
    cpSync(machine.path('irene'), machine.path('irene-copy'), { recursive: true });
    expect((await irene('enclaves', 'delete', 'second', '--yes')).code).toBe(0);
    expect((await machine.sls(['sessions', 'list'], { env: other('irene-copy') })).code).toBe(4);
  });
});

test('a login port that accepts and never answers ends login, exec and status within seconds, with 6 and in our own words', async () => {
  const sockets = new Set<Socket>();
  const silent = createServer((socket) => sockets.add(socket.on('error', () => undefined)));
  await new Promise<void>((resolve) => silent.listen(0, '127.0.0.1', resolve));
  const name = `127.0.0.1:${(silent.address() as AddressInfo).port}`;
  const services = { signup: `https://${name}`, login: `https://${name}` };
  expect((await logIn('desk')).code).toBe(0);
  for (const place of ['fresh', 'over']) {
    mkdirSync(machine.path(place), { recursive: true });
    cpSync(machine.path('desk'), machine.path(place), { recursive: true });
    const saved = JSON.parse(readFileSync(file(place), 'utf8')) as Record<string, unknown>;
    writeFileSync(file(place), JSON.stringify({ ...saved, preferences: { services } }));
  }
  outliveAccessToken('over');
  const trust = await machine.signBundle('silent.jws', { services });
  const [login, exec, renewing, status] = await Promise.all([
    machine.sls(['login', '--username', 'ada', '--password-stdin', ...trust], {
      stdin: `${PASSWORD}\n`,
      env: { XDG_STATE_HOME: machine.path('new') },
    }),
    machine.sls(['exec', 'true'], { env: other('fresh') }),
    machine.sls(['sessions', 'list'], { env: other('over') }),
    machine.sls(['status'], { env: other('fresh') }),
  ]);
  const words = `expected a connection to ${name} within 10 s, got none`;
  for (const { code, stderr } of [login, exec, renewing])
    expect({ code, stderr }).toMatchObject({ code: 6, stderr: expect.stringContaining(`sls: ${words}\nhint: `) });
  expect(exec.stderr).not.toContain('the enclave is gone');
  expect(status).toMatchObject({
    code: 0,
    stdout: expect.stringContaining(`not known: ${words}`),
    stderr: expect.stringContaining('warning: whether the session is still good is not known'),
  });
  // Nothing of what a login that failed would have kept.
  expect(readdirSync(machine.path('new', 'sls'))).not.toContain('session.json');
  for (const socket of sockets) socket.destroy();
  silent.close();
  expect((await machine.sls(['logout', '-q'], { env: other('desk') })).code).toBe(0);
});

test('sls logout ends the session on the service, too; --all those of other machines', async () => {
  expect((await logIn('desk')).code).toBe(0);
  expect((await logIn('phone')).code).toBe(0);
  const copy = readFileSync(file('desk'), 'utf8');
  expect((await machine.sls(['logout', '-q'], { env: other('desk') })).code).toBe(0);
  expect(existsSync(file('desk'))).toBe(false);
  // Whoever copied the state has nothing of it.
  writeFileSync(file('desk'), copy, { mode: 0o600 });
  expect((await machine.sls(['sessions', 'list'], { env: other('desk') })).code).toBe(4);
  expect(await machine.sls(['logout', '--all', '--json'])).toMatchObject({
    code: 0,
    stdout: expect.stringContaining('"sessionsEnded": 2'),
  });
  expect((await machine.sls(['sessions', 'list'], { env: other('phone') })).code).toBe(4);
  expect((await machine.sls(['exec', 'true'])).code).toBe(4);
});

test('sls logout removes what is here even when the service is away, and says that the session may live on', async () => {
  expect(
    (await machine.sls(['login', '-q', '--username', 'ada', '--password-stdin'], { stdin: `${PASSWORD}\n` })).code,
  ).toBe(0);
  await machine.stopService();
  const { code, stderr } = await machine.sls(['logout']);
  expect({ code, stderr }).toMatchObject({ code: 0, stderr: expect.stringContaining('could not end it') });
  expect(existsSync(file())).toBe(false);
});
