import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  copyFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { built } from '../support/built';
import { Machine, PASSWORD } from '../support/machine';
import type { Ended } from '../support/machine';

/** Somebody without an entry in passwd, whom permissions hold back. */
const NOBODY = 54_321;
const stdin = `${PASSWORD}\n`;
const asRoot = process.getuid?.() === 0 ? test : test.skip;

let machine: Machine;
let fingerprint: string;
beforeAll(async () => {
  machine = new Machine();
  await machine.startService();
  // So that others reach what they are given in it.
  chmodSync(machine.folder, 0o755);
  fingerprint = machine.elsewhere('any')['SLS_TRUST_FINGERPRINT'] as string;
});
afterAll(() => machine.remove());

/** A machine of the same service, with a state of its own. */
function elsewhere(name: string): { env: Record<string, string>; file(...names: string[]): string } {
  const env = { ...machine.elsewhere(name), XDG_CONFIG_HOME: machine.path(`${name}-config`) };
  return { env, file: (...names) => machine.path(name, 'sls', ...names) };
}

async function signedUp(name: string): Promise<ReturnType<typeof elsewhere>> {
  const place = elsewhere(name);
  const { code, stderr } = await machine.sls(['signup', '-q', '--username', name, '--password-stdin'], {
    stdin,
    env: place.env,
  });
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  return place;
}

async function loggedIn(name: string): Promise<ReturnType<typeof elsewhere>> {
  const place = await signedUp(name);
  const { code, stderr } = await machine.sls(['login', '-q'], { env: place.env });
  expect({ code, stderr: stderr.replace(/^sls: warning: .*TPM.*\n/, '') }).toEqual({ code: 0, stderr: '' });
  return place;
}

const DAMAGES: Array<[string, (text: string) => string | Buffer]> = [
  ['empty', () => ''],
  ['cut off', (text) => text.slice(0, Math.floor(text.length / 2))],
  ['JSON of another kind', () => 'null'],
  ['no text', () => Buffer.from([0xff, 0xfe, 0x00])],
];

test.each(DAMAGES)(
  'tokens that are %s are named with what to do; login and logout put it right',
  async (kind, damage) => {
    const name = `tok${kind.replace(/\W/g, '').toLowerCase()}`;
    const { env, file } = await signedUp(name);
    const damaged = damage(readFileSync(file('token.json'), 'utf8'));
    writeFileSync(file('token.json'), damaged);
    for (const args of [
      ['account', 'show'],
      ['sessions', 'list'],
      ['totp', 'status'],
      ['passwd', '--password-stdin'],
    ])
      expect(await machine.sls(args, { env, stdin: `${stdin}another password\n` })).toMatchObject({
        code: 4,
        stderr: expect.stringMatching(
          new RegExp(`^sls: can't read the saved tokens ${file('token.json')}: .*\nhint: sls login .*\n$`),
        ) as string,
      });
    expect(await machine.sls(['logout'], { env })).toMatchObject({
      code: 0,
      stderr: expect.stringContaining('token.json'),
    });
    expect(existsSync(file('token.json'))).toBe(false);
    writeFileSync(file('token.json'), damaged);
    const login = await machine.sls(['login', '--username', name, '--password-stdin'], { stdin, env });
    expect(login).toMatchObject({ code: 0, stderr: expect.stringContaining('this login takes its place') });
    expect((await machine.sls(['account', 'show'], { env })).code).toBe(0);
  },
);

test.each(DAMAGES)(
  'a session that is %s is named with what to do, and login begins another one',
  async (kind, damage) => {
    const name = `ses${kind.replace(/\W/g, '').toLowerCase()}`;
    const { env, file } = await loggedIn(name);
    writeFileSync(file('session.json'), damage(readFileSync(file('session.json'), 'utf8')));
    copyFileSync(file('session.json'), file('session-gpu-lab.json'));
    for (const [args, hint] of [
      [['status'], 'run: sls login'],
      [['exec', 'true'], 'run: sls login'],
      [['seats', 'list'], 'run: sls login'],
      [['exec', '--enclave', 'gpu-lab', 'true'], 'run: sls login --enclave gpu-lab'],
    ] as const)
      expect(await machine.sls([...args], { env })).toMatchObject({
        code: 4,
        stderr: expect.stringMatching(
          new RegExp(`^sls: can't read the saved session ${machine.path(name)}.*json: .*\nhint: ${hint}\n$`),
        ) as string,
      });
    rmSync(file('session-gpu-lab.json'));
    expect((await machine.sls(['login', '--username', name, '--password-stdin'], { stdin, env })).code).toBe(0);
    expect((await machine.sls(['status'], { env })).code).toBe(0);
    writeFileSync(file('session.json'), '');
    expect(await machine.sls(['logout'], { env })).toMatchObject({
      code: 0,
      stderr: expect.stringContaining('session.json'),
    });
    expect(readdirSync(machine.path(name, 'sls'))).not.toContain('session.json');
  },
);

test('a pinned trust bundle that is damaged is named with what to do; trust add compares the fingerprint again, trust remove removes it', async () => {
  const { env } = elsewhere('pins');
  const { SLS_TRUST: bundle = '', SLS_TRUST_FINGERPRINT: _, ...rest } = env;
  const pinned = machine.path('pins-config', 'sls', 'trust-bundle.jws');
  const sls = (...args: string[]): Promise<Ended> =>
    machine.sls(args, { env: { ...rest, HOME: machine.path('pins') } });
  const add = ['trust', 'add', bundle, '--fingerprint', fingerprint];
  expect((await sls(...add)).code).toBe(0);
  for (const [, damage] of DAMAGES) {
    writeFileSync(pinned, damage(readFileSync(bundle, 'utf8')));
    expect(await sls('trust', 'show')).toMatchObject({
      code: 5,
      stderr: expect.stringMatching(
        new RegExp(`can't read the trust bundle ${pinned}: .*\nhint: .*sls trust add`),
      ) as string,
    });
    expect((await sls('trust', 'add', bundle)).code).toBe(2);
    expect((await sls(...add)).code).toBe(0);
    expect((await sls('trust', 'show')).code).toBe(0);
  }
  writeFileSync(pinned, '');
  expect((await sls('trust', 'remove', '--yes')).code).toBe(0);
  expect(existsSync(pinned)).toBe(false);
});

test('what this machine remembers of the installation and its users is put right by login, where nothing is lost by that', async () => {
  const { env, file } = await loggedIn('memory');
  const [folder = ''] = readdirSync(file('trust'));
  const [bundle = '', user = ''] = [/^bundle-/, /^user-/].map((pattern) =>
    readdirSync(file('trust', folder)).find((name) => pattern.test(name)),
  );
  const login = (): Promise<Ended> =>
    machine.sls(['login', '--username', 'memory', '--password-stdin'], { stdin, env });
  writeFileSync(file('trust', folder, bundle), '');
  writeFileSync(file('trust', folder, user), '');
  expect(await login()).toMatchObject({
    code: 0,
    stderr: expect.stringContaining(`${user}: it is empty; this login takes its place`),
  });
  expect(readFileSync(file('trust', folder, bundle), 'utf8')).not.toBe('');
  expect((await login()).stderr).not.toContain(user);
  // A newer one than any that is at hand: an old one is not to come in its place.
  const newer = bundle.replace(/\d+/, (digits) => String(Number(digits) + 1).padStart(digits.length, '0'));
  writeFileSync(file('trust', folder, newer), '');
  expect(await login()).toMatchObject({ code: 1, stderr: expect.stringMatching(`${newer}\nhint: .*remove the file`) });
});

asRoot('a state that can not be written is refused before anything is made at the service', async () => {
  const { env } = await loggedIn('grace');
  const sessions = async (): Promise<number> =>
    (JSON.parse((await machine.sls(['sessions', 'list', '--json'], { env })).stdout) as unknown[]).length;
  const before = await sessions();
  const sealed = { ...env, XDG_STATE_HOME: machine.path('sealed'), XDG_CONFIG_HOME: machine.path('sealed') };
  mkdirSync(machine.path('sealed'), { mode: 0o555 });
  const bundle = machine.path('public.jws');
  copyFileSync(env['SLS_TRUST'] as string, bundle);
  const asNobody = { env: { ...sealed, SLS_TRUST: bundle }, uid: NOBODY };
  const refused = {
    code: 1,
    stderr: `sls: can't write to ${machine.path('sealed', 'sls')}: EACCES\nhint: nothing was sent; set XDG_STATE_HOME to a folder that you can write to\n`,
  };
  expect(await machine.sls(['login', '--username', 'grace', '--password-stdin'], { stdin, ...asNobody })).toMatchObject(
    refused,
  );
  expect(
    await machine.sls(['signup', '--username', 'hopper', '--password-stdin'], { stdin, ...asNobody }),
  ).toMatchObject(refused);
  expect(await sessions()).toBe(before);
  await signedUp('hopper');
});

asRoot('a state that can only be read is enough to look at things and to work, with a warning', async () => {
  const { env, file } = await loggedIn('reader');
  const saved = JSON.parse(readFileSync(file('session.json'), 'utf8')) as { session: { accessTokenExpiresAt: number } };
  saved.session.accessTokenExpiresAt = Math.floor(Date.now() / 1000) - 1;
  writeFileSync(file('session.json'), JSON.stringify(saved));
  cpSync(machine.path('reader'), machine.path('frozen'), { recursive: true });
  for (const entry of readdirSync(machine.path('frozen'), { recursive: true, withFileTypes: true }))
    chmodSync(join(entry.parentPath, entry.name), entry.isDirectory() ? 0o555 : 0o444);
  chmodSync(machine.path('frozen'), 0o555);
  const bundle = machine.path('public.jws');
  copyFileSync(env['SLS_TRUST'] as string, bundle);
  const asNobody = {
    env: { ...env, XDG_STATE_HOME: machine.path('frozen'), SLS_TRUST: bundle },
    uid: NOBODY,
  };
  for (const args of [
    ['sessions', 'list'],
    ['account', 'show'],
  ]) {
    const { code, stderr } = await machine.sls([...args], asNobody);
    expect({ args, code, warnings: stderr.match(/warning: can't write to .*EACCES/g) }).toEqual({
      args,
      code: 0,
      warnings: [expect.anything()],
    });
  }
  expect((await machine.sls(['exec', 'true'], asNobody)).code).toBe(0);
  expect(await machine.sls(['login'], asNobody)).toMatchObject({ code: 1, stderr: expect.stringContaining('EACCES') });
  expect(await machine.sls(['logout'], asNobody)).toMatchObject({
    code: 1,
    stderr: expect.stringMatching(/can't remove .*session\.json \(EACCES\); 1 session is ended/),
  });
});

asRoot('a session that root owns, as after sudo, says so', async () => {
  const { env, file } = await loggedIn('sudo');
  mkdirSync(machine.path('mine', 'sls'), { recursive: true });
  copyFileSync(file('session.json'), machine.path('mine', 'sls', 'session.json'));
  chmodSync(machine.path('mine', 'sls', 'session.json'), 0o600);
  for (const folder of ['mine', join('mine', 'sls')]) chownSync(machine.path(folder), NOBODY, NOBODY);
  const { code, stderr } = await machine.sls(['status'], {
    env: { ...env, XDG_STATE_HOME: machine.path('mine') },
    uid: NOBODY,
  });
  expect({ code, stderr }).toEqual({
    code: 4,
    stderr: `sls: can't read the saved session ${machine.path('mine', 'sls', 'session.json')}: EACCES\nhint: it belongs to root, as after sudo sls: sudo chown -R "$(id -u)" "${machine.path('mine', 'sls')}"\n`,
  });
});

test('a place for the evidence that can not be written is refused before the login; a device is written to, not replaced', async () => {
  const { env } = await signedUp('proof');
  const login = (file: string): Promise<Ended> => machine.sls(['login', '--evidence', file], { env });
  expect(await login(machine.path('not', 'here'))).toMatchObject({
    code: 2,
    stderr: expect.stringContaining('ENOENT'),
  });
  const list = JSON.parse((await machine.sls(['sessions', 'list', '--json'], { env })).stdout) as unknown[];
  expect(list).toHaveLength(1);
  writeFileSync(machine.path('evidence'), 'x'.repeat(1_000_000));
  expect((await login(machine.path('evidence'))).code).toBe(0);
  expect(JSON.parse(readFileSync(machine.path('evidence'), 'utf8'))).toHaveProperty('claims');
  // Its name here: a fault must not take away the machine's.
  symlinkSync('/proc/self/fd/1', machine.path('stdout'));
  const piped = execFileSync('sh', ['-c', '"$NODE" "$SLS" login -q --evidence "$HOME/stdout" | cat'], {
    env: { ...machine.env, ...env, NODE: process.execPath, SLS: built('sls') },
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  expect(JSON.parse(piped)).toHaveProperty('claims');
  expect(readlinkSync(machine.path('stdout'))).toBe('/proc/self/fd/1');
  // Its own command made the file, and took it away again.
  rmSync(machine.path('proof', 'sls', 'token.json'), { force: true });
  const refused = await machine.sls(
    ['login', '--username', 'proof', '--password-stdin', '--evidence', machine.path('new')],
    { stdin: 'wrong\n', env },
  );
  expect({ code: refused.code, left: existsSync(machine.path('new')) }).toEqual({ code: 4, left: false });
});

test('a place for a licence key or a certificate that can not be written is refused before they are made', async () => {
  writeFileSync(machine.path('taken'), 'the key of another licence');
  const issue = ['admin', 'licence', 'issue', '--plan', 'team', '--days', '1', '--reason', 'test', '--out'];
  for (const [args, reason] of [
    [[...issue, machine.path('taken')], 'EEXIST'],
    [[...issue, machine.path('not', 'here')], 'ENOENT'],
    [['admin', 'certificate', '--out', machine.path('taken')], 'EEXIST'],
    [['admin', 'trust-bundle', 'export', '--out', machine.path('not', 'here')], 'ENOENT'],
  ] as const)
    expect(await machine.sls([...args])).toMatchObject({ code: 2, stderr: expect.stringContaining(reason) as string });
  expect(JSON.parse((await machine.sls(['admin', 'licence', 'list', '--json'])).stdout)).toEqual([]);
  expect(readFileSync(machine.path('taken'), 'utf8')).toBe('the key of another licence');
});

asRoot('HOME that is empty, relative or missing never means the working folder', async () => {
  const { XDG_STATE_HOME: _state, XDG_CONFIG_HOME: _config, ...env } = machine.env;
  const before = readdirSync(machine.folder);
  for (const HOME of ['', 'here', undefined]) {
    const { code, stderr } = await machine.sls(['status'], {
      env: { ...env, XDG_STATE_HOME: undefined, XDG_CONFIG_HOME: undefined, HOME },
      uid: NOBODY,
    });
    expect({ code, stderr }).toEqual({
      code: 1,
      stderr: `sls: no home folder: HOME is ${HOME === undefined ? 'not set' : JSON.stringify(HOME)}, and user ${NOBODY} has none in passwd\nhint: set HOME, or both XDG_CONFIG_HOME and XDG_STATE_HOME, to absolute paths\n`,
    });
  }
  expect(readdirSync(machine.folder)).toEqual(before);
});

test('a login to another enclave goes on with the session that is there: nobody is asked for anything, and its commands go on as well', async () => {
  const { env, file } = await loggedIn('twice');
  const login = await machine.sls(['login', '--enclave', 'gpu-lab'], { env });
  expect(login).toMatchObject({ code: 0, stderr: expect.stringContaining('logged in as twice') });
  const read = (name: string): { session: { refreshToken?: string; accessTokenExpiresAt: number; enclave: object } } =>
    JSON.parse(readFileSync(file(name), 'utf8')) as ReturnType<typeof read>;
  expect(read('session-gpu-lab.json').session.refreshToken).toBeUndefined();
  expect(JSON.parse((await machine.sls(['sessions', 'list', '--json'], { env })).stdout)).toHaveLength(1);
  for (const name of ['session.json', 'session-gpu-lab.json']) {
    const saved = read(name);
    saved.session.accessTokenExpiresAt = 1;
    writeFileSync(file(name), JSON.stringify(saved));
  }
  const before = read('session.json').session.refreshToken;
  // Its access token is over and its enclave gone: it takes what the other one's file has, and puts the next one back there.
  expect((await machine.sls(['enclaves', 'stop', 'gpu-lab'], { env })).code).toBe(0);
  const exec = await machine.sls(['exec', '--enclave', 'gpu-lab', 'echo', 'on'], { env });
  expect(exec).toMatchObject({ code: 0, stdout: 'on\n' });
  expect(exec.stderr).toContain('the enclave gpu-lab was started anew; its files are kept');
  expect(read('session.json').session.refreshToken).not.toBe(before);
  expect((await machine.sls(['exec', '-q', 'true'], { env })).code).toBe(0);
});

test('a login that named its trust bundle is gone on with without naming it again', async () => {
  const { env } = elsewhere('named');
  const { SLS_TRUST: bundle = '', SLS_TRUST_FINGERPRINT: _, ...rest } = env;
  const options = { env: rest };
  const named = ['--trust', bundle, '--trust-fingerprint', fingerprint];
  const signup = ['signup', '--username', 'named', '--password-stdin', ...named];
  expect((await machine.sls(signup, { ...options, stdin })).code).toBe(0);
  expect((await machine.sls(['login', ...named], options)).code).toBe(0);
  expect((await machine.sls(['login'], options)).code).toBe(0);
  expect((await machine.sls(['login', '--username', 'named', '--password-stdin'], { ...options, stdin })).code).toBe(0);
});
