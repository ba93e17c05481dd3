import { existsSync, readFileSync, statSync, writeFileSync } from 'node:fs';
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
  expect(refused).toMatchObject({ code: 5, stderr: expect.stringContaining('revocation.session') });
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
  expect((await untilRefused('phone')).code).toBe(5);
  expect((await logIn('phone')).code).toBe(4);
  expect((await machine.sls(['exec', '-q', 'true'])).code).toBe(0);
  // This machine goes on by the token that the change gave.
  outliveAccessToken();
  expect((await machine.sls(['sessions', 'list', '-q'])).code).toBe(0);
  await machine.sls(['passwd', '-q', '--password-stdin'], { stdin: `quite another password\n${PASSWORD}\n` });
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
