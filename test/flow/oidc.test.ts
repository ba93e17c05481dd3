import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { spawn as spawnOnTerminal } from '@lydell/node-pty';
import { readFileSync, writeFileSync } from 'node:fs';
import { createAuthority } from '../../licensing/authority/authority';
import { issueServerCertificate } from '../../licensing/authority/server';
import { Authenticator } from '../support/authenticator';
import { built } from '../support/built';
import { Machine, PASSWORD } from '../support/machine';
import type { Ended, RunOptions } from '../support/machine';
import { OpenIdProvider } from '../support/openid-provider';
import { clockOff } from '../support/wrong-clock';

let machine: Machine;
let provider: OpenIdProvider;
beforeAll(async () => {
  machine = new Machine();
  const ca = await createAuthority({ commonName: "the provider's CA", trustDomain: 'idp.test', years: 1 });
  provider = await OpenIdProvider.start({
    certificate: await issueServerCertificate(ca, { hosts: ['localhost'], days: 2 }),
  });
  machine.env['NODE_EXTRA_CA_CERTS'] = machine.path('provider-ca.pem');
  writeFileSync(machine.path('provider-ca.pem'), ca.certificate);
  await machine.startService(provider.upOptions);
});
afterAll(async () => {
  await machine.remove();
  await provider.goDown();
});

/** Runs sls while a person does with the address that it shows what `person` says. */
async function withPerson(
  args: string[],
  person: (address: string, child: ChildProcess) => Promise<unknown>,
  options: RunOptions = {},
): Promise<Ended> {
  let gone: Promise<unknown> | undefined;
  const ended = await machine.sls(args, {
    ...options,
    onStart(child) {
      let said = '';
      child.stderr?.on('data', (text) => {
        said += String(text);
        const [, address] = /^ {2}(http\S+user_code=\S+)$/m.exec(said) ?? [];
        if (address !== undefined) gone ??= person(address, child);
      });
    },
  });
  await gone;
  return ended;
}
const approve =
  (subject: string) =>
  (address: string): Promise<void> =>
    provider.approve(address, subject);
const saved = (): string => readFileSync(machine.path('state', 'sls', 'session.json'), 'utf8');

test('a user logs in with a browser, and works in an enclave of their own', async () => {
  const login = await withPerson(['login', '--oidc', '--username', 'ada', '--json'], approve('ada'));
  expect(login).toMatchObject({ code: 0 });
  expect(JSON.parse(login.stdout)).toMatchObject({ username: 'ada', enclave: { name: 'default' } });
  expect(login.stderr).toContain(`Log in at ${provider.issuer}`);
  expect(login.stderr).toMatch(/^ {2}[A-Z]{4}-[A-Z]{4}$/m);
  expect(login.stderr).toContain('a new account was made for you: ada');
  expect(await machine.sls(['exec', '--', 'echo', 'ok'])).toMatchObject({ code: 0, stdout: 'ok\n' });
  const { stdout } = await machine.sls(['account', 'show', '--json']);
  expect(JSON.parse(stdout)).toMatchObject({ username: 'ada', hasPassword: false, oidcIssuer: provider.issuer });
  // The session goes on without the provider.
  await provider.goDown();
  expect(await machine.sls(['login'])).toMatchObject({ code: 0 });
  await provider.goUp();
});

test('another login ends the session of the one before, and finds the same account', async () => {
  const user = (): unknown => (JSON.parse(saved()) as { session: { enclave: { user: string } } }).session.enclave.user;
  const before = user();
  expect(await withPerson(['login', '--oidc'], approve('ada'))).toMatchObject({ code: 0 });
  expect(user()).toBe(before);
  const { stdout } = await machine.sls(['sessions', 'list', '--json']);
  expect(JSON.parse(stdout)).toHaveLength(1);
});

test('no token of the provider is kept, printed or logged', async () => {
  const login = await withPerson(['login', '--oidc', '--verbose'], approve('ada'));
  const logs = ['signup.log', 'login.log'].map((name) => readFileSync(machine.server('log', name), 'utf8')).join('');
  for (const text of [login.stdout, login.stderr, saved(), logs])
    expect(text).not.toMatch(new RegExp(Buffer.from('{"alg":"RS256"').toString('base64url').slice(0, 18)));
});

test('the password that there is none of is asked for nowhere: a login of a moment ago stands for it', async () => {
  expect(await machine.sls(['passwd'])).toMatchObject({ code: 1, stderr: expect.stringContaining('no password') });
  expect(
    await machine.sls(['account', 'delete', '--yes', '--password-stdin'], { stdin: `${PASSWORD}\n` }),
  ).toMatchObject({ code: 2, stderr: expect.stringContaining('no password') });
  const wrong = await machine.sls(['login', '--username', 'ada', '--password-stdin'], { stdin: `${PASSWORD}\n` });
  expect(wrong).toMatchObject({ code: 4, stderr: expect.stringContaining('the username or the password is wrong') });
});

test('what goes wrong is said in words, with a way out', async () => {
  const denied = await withPerson(['login', '--oidc'], (address) => provider.deny(address));
  expect(denied).toMatchObject({
    code: 4,
    stderr: expect.stringMatching(/denied[^]*hint: to start over: sls login --oidc/),
  });
  const other = await withPerson(['login', '--oidc', '--username', 'bea', '--json'], approve('ada'));
  expect(other).toMatchObject({ code: 1, stderr: expect.stringContaining('your account here is called ada') });
  expect(JSON.parse(other.stdout)).toMatchObject({ error: { code: 'oidc.other_username', exitCode: 1 } });
  expect(await machine.sls(['login', '--oidc', '--password-stdin'])).toMatchObject({ code: 2 });
  const goOn = provider.hang();
  expect(await machine.sls(['login', '--oidc'])).toMatchObject({
    code: 6,
    stderr: expect.stringContaining('hint: is the OpenID provider up?'),
  });
  goOn();
  // The session of before is still there.
  expect(await machine.sls(['exec', '--', 'echo', 'ok'])).toMatchObject({ code: 0 });
});

test('a provider whose certificate nobody vouches for is sent nothing', async () => {
  const ended = await machine.sls(['login', '--oidc'], { env: { NODE_EXTRA_CA_CERTS: '' } });
  expect(ended).toMatchObject({ code: 6, stderr: expect.stringContaining("can't be reached") });
});

test("a provider whose certificate has ended by this machine's clock alone: the hint is the clock", async () => {
  const ended = await machine.sls(['login', '--oidc'], { env: clockOff('+3d') });
  expect(ended).toMatchObject({
    code: 6,
    stderr: expect.stringMatching(
      /can't be reached\nhint: this machine's clock is 3 days ahead of the service's: set right the one that is wrong/,
    ),
  });
});

test('Ctrl-C ends the wait at once, and leaves the session of before as it was', async () => {
  const before = saved();
  const ended = await withPerson(['login', '--oidc'], (_address, child) => Promise.resolve(child.kill('SIGINT')));
  expect(ended).toMatchObject({ code: 130, stderr: expect.stringContaining('ended by SIGINT') });
  expect(ended.stderr).not.toMatch(/ {4}at /);
  expect(saved()).toBe(before);
});

/** `sls totp enable` as a person does it who logged in a moment ago: no password, and what the authenticator makes of the secret that is shown. */
async function enableSecondFactor(): Promise<{ authenticator: Authenticator; recoveryCodes: string[] }> {
  const child = spawn(process.execPath, [built('sls'), 'totp', 'enable', '--json'], { env: machine.env });
  let [stdout, stderr] = ['', ''];
  let authenticator: Authenticator | undefined;
  child.stdout.on('data', (text: Buffer) => (stdout += text.toString()));
  child.stderr.on('data', (text: Buffer) => {
    stderr += text.toString();
    const secret = /Secret[^:]*: ([A-Z2-7 ]+)\n/.exec(stderr)?.[1];
    if (secret === undefined || authenticator) return;
    authenticator = new Authenticator(secret);
    child.stdin.end(`${authenticator.code()}\n`);
  });
  const [code] = (await once(child, 'close')) as [number | null];
  if (code !== 0 || !authenticator) throw new Error(`sls totp enable ended with ${code}: ${stderr}`);
  return { authenticator, recoveryCodes: (JSON.parse(stdout) as { recoveryCodes: string[] }).recoveryCodes };
}

test('a second factor is asked for after the browser, where there is one', async () => {
  expect(await withPerson(['login', '--oidc'], approve('ada'))).toMatchObject({ code: 0 });
  const { authenticator, recoveryCodes } = await enableSecondFactor();
  expect(await withPerson(['login', '--oidc'], approve('ada'))).toMatchObject({
    code: 4,
    stderr: expect.stringContaining('code'),
  });
  expect(await withPerson(['login', '--oidc'], approve('ada'), { stdin: `${authenticator.wrong()}\n` })).toMatchObject({
    code: 4,
  });
  expect(await withPerson(['login', '--oidc'], approve('ada'), { stdin: `${authenticator.code(1)}\n` })).toMatchObject({
    code: 0,
  });
  expect(await machine.sls(['totp', 'disable'], { stdin: `${recoveryCodes[0]}\n` })).toMatchObject({ code: 0 });
  expect(await withPerson(['login', '--oidc'], approve('ada'))).toMatchObject({ code: 0 });
});

test('a session that is over is begun anew at the provider, by who is told to', async () => {
  const { stdout } = await machine.sls(['sessions', 'list', '--json']);
  const [{ session } = { session: '' }] = JSON.parse(stdout) as Array<{ session: string }>;
  await machine.sls(['sessions', 'revoke', session]);
  // Nobody watches: there is no use in a code.
  expect(await machine.sls(['login'])).toMatchObject({
    code: 4,
    stderr: expect.stringContaining('hint: run: sls login --oidc'),
  });
  expect(await withPerson(['login', '--oidc'], approve('ada'))).toMatchObject({ code: 0 });
});

test('who has a password can log in at the provider as well, once they have said so with it', async () => {
  await machine.signUpAndLogin('zoe', ['--username', 'zoe', '--password-stdin']);
  const link = await withPerson(['account', 'link', '--password-stdin', '--json'], approve('zoe@provider'), {
    stdin: `${PASSWORD}\n`,
  });
  expect(link).toMatchObject({ code: 0 });
  expect(JSON.parse(link.stdout)).toEqual({ oidcIssuer: provider.issuer });
  expect(await machine.sls(['account', 'link', '--password-stdin'], { stdin: `${PASSWORD}\n` })).toMatchObject({
    code: 1,
    stderr: expect.stringContaining('to unlink it: sls account unlink'),
  });
  const login = await withPerson(['login', '--oidc', '--json'], approve('zoe@provider'));
  expect(JSON.parse(login.stdout)).toMatchObject({ username: 'zoe' });
  expect(await machine.sls(['account', 'unlink', '--password-stdin'], { stdin: `${PASSWORD}\n` })).toMatchObject({
    code: 0,
  });
  expect((await machine.sls(['account', 'show'])).stdout).toMatch(/logs in by +password$/m);
});

describe('a password change of an account that is linked', () => {
  const NEW = 'quite another password';
  const linked = expect.stringMatching(/the OpenID provider https:\S+, and can be logged in to there/) as string;
  const show = async (): Promise<string> => (await machine.sls(['account', 'show'])).stdout;

  /** As a person types it: an answer to each question, once that is asked. */
  async function typed(args: string[], answers: Array<[string, string]>): Promise<{ code: number; seen: string }> {
    const terminal = spawnOnTerminal(process.execPath, [built('sls'), ...args], {
      cwd: machine.folder,
      env: machine.env,
      cols: 200,
    });
    let [seen, from] = ['', 0];
    terminal.onData((text) => {
      seen += text;
      const [question, answer] = answers[0] ?? ['\0', ''];
      const at = seen.indexOf(question, from);
      if (at === -1) return;
      from = at + question.length;
      answers.shift();
      terminal.write(`${answer}\r`);
    });
    const code = await new Promise<number>((resolve) => terminal.onExit(({ exitCode }) => resolve(exitCode)));
    // Colours, as a terminal gets them.
    return { code, seen: seen.replace(/\x1b\[\d+m/g, '') };
  }
  const passwords = (before: string, after: string): Array<[string, string]> => [
    ['Old password: ', before],
    ['New password: ', after],
    ['Again: ', after],
  ];

  beforeAll(async () => {
    await machine.signUpAndLogin('liz', ['--username', 'liz', '--password-stdin']);
    expect(
      await withPerson(['account', 'link', '--password-stdin'], approve('liz@provider'), { stdin: `${PASSWORD}\n` }),
    ).toMatchObject({ code: 0 });
  });

  test('names the identity and asks; whoever only presses return keeps it, and is told that it still gets in', async () => {
    const { code, seen } = await typed(['passwd'], [...passwords(PASSWORD, NEW), ['Unlink it? [y/N] ', '']]);
    expect({ code, seen }).toEqual({ code: 0, seen: linked });
    expect(seen).toMatch(
      /warning: your account can still be logged in to at https:\S+, linked \d{4}-\S+Z; to unlink it: sls account unlink/,
    );
    expect(seen).not.toContain('no longer linked');
    expect(await show()).toContain(provider.issuer);
    expect(await withPerson(['login', '--oidc'], approve('liz@provider'))).toMatchObject({ code: 0 });
  });

  test('asks nobody where the passwords come from standard input, and says the same', async () => {
    const { code, stdout, stderr } = await machine.sls(['passwd', '--password-stdin', '--json'], {
      stdin: `${NEW}\n${PASSWORD}\n`,
    });
    expect(code).toBe(0);
    expect(stderr).not.toContain('Unlink it?');
    expect(JSON.parse(stdout)).toMatchObject({ linked: [{ issuer: provider.issuer }], unlinked: [] });
    expect(stderr).toContain('to unlink it: sls account unlink');
  });

  test('changes and unlinks nothing where the old password is wrong, whatever was answered', async () => {
    const { code, seen } = await typed(['passwd'], [...passwords('not the password', NEW), ['Unlink it? [y/N] ', 'y']]);
    expect({ code, seen }).toEqual({ code: 4, seen: expect.stringContaining('old password is wrong') as string });
    expect(await show()).toContain(provider.issuer);
  });

  test('unlinks it at a yes: the identity gets in no more', async () => {
    const { code, seen } = await typed(['passwd'], [...passwords(PASSWORD, NEW), ['Unlink it? [y/N] ', 'y']]);
    expect({ code, seen }).toEqual({
      code: 0,
      seen: expect.stringContaining(`your account is no longer linked to ${provider.issuer}`) as string,
    });
    expect(seen).not.toContain('can still be logged in to');
    expect(await show()).toMatch(/logs in by +password$/m);
    // The provider's word is another account's now.
    const login = await withPerson(['login', '--oidc', '--username', 'lou', '--json'], approve('liz@provider'), {
      env: machine.elsewhere('lou'),
    });
    expect(JSON.parse(login.stdout)).toMatchObject({ username: 'lou' });
  });

  test('asks nothing about identities where there is none', async () => {
    const { code, seen } = await typed(['passwd'], passwords(NEW, PASSWORD));
    expect({ code, seen }).toEqual({ code: 0, seen: expect.not.stringContaining('Unlink') as string });
  });

  test('--unlink-all unlinks without asking', async () => {
    expect(
      await withPerson(['account', 'link', '--password-stdin'], approve('liz again'), { stdin: `${PASSWORD}\n` }),
    ).toMatchObject({ code: 0 });
    const { code, seen } = await typed(['passwd', '--unlink-all'], passwords(PASSWORD, NEW));
    expect({ code, seen }).toEqual({ code: 0, seen: expect.not.stringContaining('Unlink it?') as string });
    expect(seen).toContain(`your account is no longer linked to ${provider.issuer}`);
    expect(await show()).toMatch(/logs in by +password$/m);
  });
});

test('an account is deleted by who logged in just now, and is gone at the next login', async () => {
  expect(await withPerson(['login', '--oidc', '--username', 'gus'], approve('gus'))).toMatchObject({ code: 0 });
  expect(await machine.sls(['account', 'delete', '--yes', '--json'])).toMatchObject({ code: 0 });
  const again = await withPerson(['login', '--oidc'], approve('gus'));
  expect(again).toMatchObject({ code: 0, stderr: expect.stringContaining('a new account was made for you: user-') });
});
