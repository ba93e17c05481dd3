import { createHash, randomBytes } from 'node:crypto';
import { chmodSync, existsSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { spawn } from '@lydell/node-pty';
import { built } from '../support/built';
import { eventually } from '../support/eventually';
import { Machine, PASSWORD } from '../support/machine';

let machine: Machine;
beforeAll(async () => {
  machine = new Machine();
  await machine.startService();
  await machine.signUpAndLogin('ada', ['--evidence', 'proof.json']);
});
afterAll(() => machine.remove());

const sha256 = (data: Buffer): string => createHash('sha256').update(data).digest('hex');

test('login verifies every step, warns that the TPM is software, and keeps the session readable by its owner only', async () => {
  const { code, stdout, stderr } = await machine.sls(['login', '--username', 'ada', '--password-stdin', '--json'], {
    stdin: `${PASSWORD}\n`,
  });
  expect(code).toBe(0);
  const steps = [
    'ak_certificate',
    'ak_attributes',
    'signature',
    'quote',
    'pcr_digest',
    'root',
    'claims',
    'freshness',
    'certificate_hash',
    'identity',
    'policy',
  ];
  let from = 0;
  for (const step of steps) {
    const at = stderr.indexOf(`sls: ok ${step}: `, from);
    expect({ step, found: at >= 0 }).toEqual({ step, found: true });
    from = at;
  }
  expect(stderr).toMatch(/warning: .*TPM is a program/);
  expect(JSON.parse(stdout)).toMatchObject({
    username: 'ada',
    enclave: { node: 'localhost' },
    claims: { node: 'localhost' },
  });
  const file = machine.path('state', 'sls', 'session.json');
  expect(statSync(file).mode & 0o777).toBe(0o600);
  expect(statSync(machine.path('state', 'sls')).mode & 0o777).toBe(0o700);
  const kept = ['.lock', 'log', 'server', 'session.json', 'trust'];
  expect(readdirSync(machine.path('state', 'sls')).sort()).toEqual(kept);
});

describe('exec', () => {
  test('streams a file through a command; results on standard output alone', async () => {
    const data = randomBytes(3 * 1024 * 1024);
    const { code, stdout } = await machine.sls(['exec', '--quiet', '--', 'sha256sum', '-'], { stdin: data });
    expect({ code, stdout }).toEqual({ code: 0, stdout: `${sha256(data)}  -\n` });
  });

  test("ends with the command's own status, and 127 or 126 when there is no such command", async () => {
    expect((await machine.sls(['exec', '--', 'sh', '-c', 'exit 43'])).code).toBe(43);
    expect((await machine.sls(['exec', '--', 'sh', '-c', 'kill -KILL $$'])).code).toBe(137);
    expect((await machine.sls(['exec', 'no-such-command'])).code).toBe(127);
  });

  test("keeps arguments, the two outputs, variables and the directory apart; the command's options are its own", async () => {
    const script = 'printf "%s|" "$@"; echo "$GREETING" "$(pwd)" >&2';
    const args = [
      'exec',
      '-q',
      '-e',
      'GREETING=hi there',
      '-C',
      'sub dir',
      '--',
      'sh',
      '-c',
      script,
      'sh',
      '--json',
      '',
      'a b',
      '$HOME',
    ];
    expect((await machine.sls(['exec', '-q', 'mkdir', '-p', 'sub dir'])).code).toBe(0);
    const { code, stdout, stderr } = await machine.sls(args);
    expect({ code, stdout }).toEqual({ code: 0, stdout: '--json||a b|$HOME|' });
    expect(stderr).toMatch(/^hi there .*\/sub dir\n$/);
  });

  test('on a terminal gives the command a terminal of its size, follows its changes, and hands the exit status on', async () => {
    const terminal = spawn(process.execPath, [built('sls'), 'exec', '-q', 'sh'], {
      cols: 91,
      rows: 23,
      cwd: machine.folder,
      env: { ...machine.env, TERM: 'xterm' },
    });
    let seen = '';
    terminal.onData((text) => (seen += text));
    const ended = new Promise<number>((done) => terminal.onExit(({ exitCode }) => done(exitCode)));
    const until = async (pattern: RegExp): Promise<void> => {
      await eventually(
        () => pattern.test(seen),
        () => `${pattern} in ${seen}`,
      );
    };
    await until(/[$#] /);
    terminal.write('stty size; tty\r');
    await until(/23 91\r\n\/dev\/pts\/\d+/);
    terminal.resize(120, 40);
    terminal.write('until stty size | grep "40 120"; do sleep 0.1; done\r');
    await until(/\n40 120/);
    // What is typed is shown too, but not so.
    terminal.write(`sh -c 'echo be""gun; exec sleep 600'\r`);
    await until(/begun/);
    terminal.write('\x03');
    terminal.write('exit 7\r');
    expect(await ended).toBe(7);
  });
});

describe('cp', () => {
  test('moves files both ways with their mode, any bytes, empty ones too', async () => {
    for (const [size, mode] of [
      [0, 0o600],
      [1, 0o640],
      [20 * 1024 * 1024 + 17, 0o751],
    ] as const) {
      const data = randomBytes(size);
      writeFileSync(machine.path('local'), data);
      chmodSync(machine.path('local'), mode);
      expect((await machine.sls(['cp', '-q', 'local', 'enclave:copy'])).code).toBe(0);
      expect((await machine.sls(['exec', '-q', 'stat', '-c', '%a %s', 'copy'])).stdout).toBe(
        `${mode.toString(8)} ${size}\n`,
      );
      expect((await machine.sls(['cp', '-q', 'enclave:copy', 'back'])).code).toBe(0);
      expect(sha256(readFileSync(machine.path('back')))).toBe(sha256(data));
      expect(statSync(machine.path('back')).mode & 0o777).toBe(mode);
    }
  });

  test('takes - for standard input and output, and a folder for the place to put it', async () => {
    expect((await machine.sls(['cp', '-q', '-', 'enclave:piped'], { stdin: 'from a pipe' })).code).toBe(0);
    expect((await machine.sls(['cp', '-q', 'enclave:piped', '-'])).stdout).toBe('from a pipe');
    expect((await machine.sls(['cp', '-q', 'enclave:piped', '.'])).code).toBe(0);
    expect(readFileSync(machine.path('piped'), 'utf8')).toBe('from a pipe');
  });

  test('a failure leaves nothing behind at either end', async () => {
    const missing = await machine.sls(['cp', 'enclave:no-such-file', 'target']);
    expect(missing.code).toBe(1);
    expect(missing.stderr).toMatch(/sls: .+/);
    expect(readdirSync(machine.folder).filter((name) => name.startsWith('target'))).toEqual([]);
    const unreadable = await machine.sls(['cp', 'not-here', 'enclave:target']);
    expect({ code: unreadable.code, stderr: unreadable.stderr }).toEqual({
      code: 1,
      stderr: "sls: can't read not-here: ENOENT\n",
    });
    expect((await machine.sls(['cp', 'proof.json', 'enclave:no-such-folder/target'])).code).toBe(1);
    expect((await machine.sls(['exec', '-q', 'find', '.', '-name', '*target*'])).stdout).toBe('');
  });
});

describe('verify', () => {
  const verify = (file: string, ...args: string[]): ReturnType<Machine['sls']> =>
    machine.sls(['verify', file, ...args], { env: { ...machine.elsewhere('elsewhere'), SLS_TRUST: '' } });

  test('needs the evidence file and the trust bundle alone, and explains each step', async () => {
    const { code, stdout } = await verify('proof.json', ...(await machine.signBundle('anyone.jws')));
    expect(code).toBe(0);
    expect(stdout.match(/^ok {2}\w+: /gm)).toHaveLength(11);
    expect(stdout).toMatch(/^good: /m);
    const json = await verify('proof.json', '--json', ...(await machine.signBundle('anyone.jws')));
    expect(JSON.parse(json.stdout)).toMatchObject({ verdict: 'good', claims: { node: 'localhost' } });
  });

  test('refuses what is forged, old or unwanted, with 5 and the step that refused', async () => {
    const proof = JSON.parse(readFileSync(machine.path('proof.json'), 'utf8')) as Record<string, string>;
    const flip = (text: string): string => {
      const bytes = Buffer.from(text, 'base64');
      bytes[bytes.length - 1]! ^= 1;
      return bytes.toString('base64');
    };
    const trust = [...(await machine.signBundle('anyone.jws'))];
    const cases: Array<[string, object, string[]]> = [
      ['signature', { ...proof, signature: flip(proof['signature'] as string) }, []],
      ['root', { ...proof, claims: flip(proof['claims'] as string) }, []],
      ['freshness', proof, ['--at', new Date(Date.now() + 3_600_000).toISOString()]],
      ['policy', proof, ['--software-tpm', 'refuse']],
      ['file', { ...proof, signature: 7 }, []],
    ];
    for (const [step, content, args] of cases) {
      writeFileSync(machine.path('case.json'), JSON.stringify(content));
      const { code, stderr } = await verify('case.json', ...trust, ...args);
      expect({ step, code, stderr }).toEqual({
        step,
        code: 5,
        stderr: expect.stringContaining(`refused at step ${step} `),
      });
    }
    // A newer release may have written it.
    writeFileSync(machine.path('case.json'), JSON.stringify({ ...proof, surprise: true }));
    expect((await verify('case.json', ...trust)).code).toBe(0);
    const expired = await verify('proof.json', ...trust, '--at', new Date(Date.now() + 3_600_000).toISOString());
    const hint = /--at (\S+)/.exec(expired.stderr)?.[1] as string;
    expect((await verify('proof.json', ...trust, '--at', hint)).code).toBe(0);
  });
});

describe('login refuses', () => {
  const login = (username: string, password: string, ...args: string[]): ReturnType<Machine['sls']> =>
    machine.sls(['login', '--username', username, '--password-stdin', ...args], { stdin: `${password}\n` });

  test('a wrong password and an unknown user in the same words, with 4, and keeps the session that there was', async () => {
    const before = readFileSync(machine.path('state', 'sls', 'session.json'), 'utf8');
    const wrong = await login('ada', 'wrong password');
    const unknown = await login('nobody', 'wrong password');
    expect([wrong.code, unknown.code]).toEqual([4, 4]);
    expect(wrong.stderr).toBe(unknown.stderr);
    expect(readFileSync(machine.path('state', 'sls', 'session.json'), 'utf8')).toBe(before);
  });

  test('an image that was not asked for and a software TPM that is not wanted, with 5', async () => {
    for (const args of [
      ['--image-digest', `sha256:${'0'.repeat(64)}`],
      ['--software-tpm', 'refuse'],
    ]) {
      const { code, stderr } = await login('ada', PASSWORD, ...args);
      expect(code).toBe(5);
      expect(stderr).toContain('refused at step policy');
    }
  });

  test('a name that is taken, at sign-up, with 1', async () => {
    const { code, stderr } = await machine.sls(['signup', '--username', 'ada', '--password-stdin'], {
      stdin: 'another good password\n',
    });
    expect(code).toBe(1);
    expect(stderr).toMatch(/sls: .*taken/);
  });
});

test('two users have two enclaves, and two logins of one user at once have one', async () => {
  const eve = machine.elsewhere('eve-state');
  expect(
    (await machine.sls(['signup', '--username', 'eve', '--password-stdin'], { stdin: `${PASSWORD}\n`, env: eve })).code,
  ).toBe(0);
  const logins = await Promise.all(
    ['a', 'b'].map((name) =>
      machine.sls(['login', '--username', 'eve', '--password-stdin', '--json'], {
        stdin: `${PASSWORD}\n`,
        env: { ...eve, XDG_STATE_HOME: machine.path(name) },
      }),
    ),
  );
  expect(logins.map(({ code }) => code)).toEqual([0, 0]);
  const workloads = logins.map(
    ({ stdout }) => (JSON.parse(stdout) as { claims: { workload: string } }).claims.workload,
  );
  expect(new Set(workloads).size).toBe(1);
  const ada = JSON.parse((await machine.sls(['status', '--json'])).stdout) as { claims: { workload: string } };
  expect(workloads).not.toContain(ada.claims.workload);
});

test('status tells who, where and until when; with --connect it asks the enclave', async () => {
  const { stdout } = await machine.sls(['status']);
  expect(stdout).toMatch(/^username +ada$/m);
  const connected = await machine.sls(['status', '--connect', '--json']);
  expect(JSON.parse(connected.stdout)).toMatchObject({
    username: 'ada',
    live: { sessions: expect.any(Number), commands: 0 },
  });
});

test('logout removes keys and tokens; what the audit log has of the login stays, without any of them', async () => {
  const { session } = JSON.parse(readFileSync(machine.path('state', 'sls', 'session.json'), 'utf8')) as {
    session: { accessToken: string; refreshToken: string; clientKey: string };
  };
  expect((await machine.sls(['logout'])).code).toBe(0);
  const kept = readdirSync(machine.path('state', 'sls', 'log'), { recursive: true, encoding: 'utf8' }).filter((name) =>
    name.endsWith('.json'),
  );
  expect(kept.length).toBeGreaterThan(0);
  for (const name of kept) {
    const text = readFileSync(machine.path('state', 'sls', 'log', name), 'utf8');
    const { record } = JSON.parse(text) as { record: string };
    for (const secret of [session.accessToken, session.refreshToken, session.clientKey])
      expect(text + Buffer.from(record, 'base64').toString('utf8')).not.toContain(secret);
  }
  expect(existsSync(machine.path('state', 'sls', 'session.json'))).toBe(false);
  expect(readdirSync(machine.path('state', 'sls')).sort()).toEqual(['.lock', 'log', 'server', 'trust']);
  expect((await machine.sls(['exec', 'true'])).code).toBe(4);
});
