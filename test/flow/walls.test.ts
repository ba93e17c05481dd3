import { createServer } from 'node:net';
import type { ListenOptions, Server } from 'node:net';
import { existsSync, mkdirSync, readFileSync, readdirSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { spawn } from '@lydell/node-pty';
import { built } from '../support/built';
import { eventually } from '../support/eventually';
import { Machine, PASSWORD } from '../support/machine';
import type { Ended } from '../support/machine';

jest.setTimeout(300_000);

const SECRET = 'what only ada may read';
const machine = new Machine();
/** Anything else that serves on this machine: by its loopback address, and by an abstract unix socket. */
const neighbours: Server[] = [];
const ABSTRACT = `sls-walls-${process.pid}`;
let loopback = 0;
let bob: Record<string, string>;

async function listening(address: ListenOptions): Promise<Server> {
  const server = createServer((socket) => socket.end('reached'));
  await new Promise<void>((done) => server.listen(address).once('listening', done));
  neighbours.push(server);
  return server;
}

beforeAll(async () => {
  await machine.startService(['--isolation', 'bubblewrap'], { SLS_TEST_SECRET: SECRET, LOG_LEVEL: 'debug' });
  const server = await listening({ host: '127.0.0.1', port: 0 });
  loopback = (server.address() as { port: number }).port;
  await listening({ path: `\0${ABSTRACT}` });
  await machine.signUpAndLogin('ada');
  expect(await asAda(`echo '${SECRET}' >secret; exec -a ada-sleeps sleep 3600 >/dev/null 2>&1 &`)).toMatchObject({
    code: 0,
  });
  bob = { ...machine.elsewhere('bob'), XDG_CONFIG_HOME: machine.path('bob-config') };
  for (const args of [['signup', '--username', 'bob', '--password-stdin'], ['login']])
    expect(await machine.sls(args, { stdin: `${PASSWORD}\n`, env: bob })).toMatchObject({ code: 0 });
});
afterAll(async () => {
  neighbours.forEach((server) => server.close());
  await machine.remove();
});

const asAda = (script: string): Promise<Ended> => machine.sls(['exec', '-q', '--', 'bash', '-c', script]);
const asBob = (script: string): Promise<Ended> => machine.sls(['exec', '-q', '--', 'bash', '-c', script], { env: bob });

/** What a command of Bob's says. */
async function bobSees(script: string): Promise<string> {
  const { stdout, stderr } = await asBob(script);
  return `${stdout}${stderr}`;
}

test("an enclave sees its own workspace, and no other one, nor any file of the installation's", async () => {
  const [workspace = ''] = readdirSync(machine.server('workspaces')).filter((name) => {
    try {
      return readFileSync(machine.server('workspaces', name, 'secret'), 'utf8').includes(SECRET);
    } catch {
      return false;
    }
  });
  const paths = [
    machine.server('workspaces', workspace, 'secret'),
    machine.server('keys', 'attestation-ca.key'),
    machine.server('keys', 'token-keys.json'),
    machine.server('database'),
    machine.server('run', 'tpm.sock'),
    machine.server('run', 'launcher.sock'),
    machine.server('run', 'enrol.sock'),
    machine.server('run', 'admin.sock'),
    machine.server('run', 'attestor', 'attestor.sock'),
    machine.server('attestor'),
    '/etc/shadow',
    '/root',
    '/home',
    '/dev/tpmrm0',
    '/proc/1/root/root',
  ];
  for (const path of paths.slice(0, 8)) expect(statSync(path)).toBeTruthy();
  expect(
    await bobSees(`for path in ${paths.map((path) => `'${path}'`).join(' ')}; do ls -d "$path" 2>/dev/null; done`),
  ).toBe('');
  expect(await bobSees(`grep -rs '${SECRET}' / --exclude-dir=proc --exclude-dir=usr; true`)).toBe('');
  expect(await asBob('pwd; cat secret')).toMatchObject({ stdout: '/workspace\n', code: 1 });
});

test('it changes nothing of the system that it runs on', async () => {
  for (const path of ['/usr/x', '/etc/x', '/x', '/dev/x', '/run/x', '/proc/sys/kernel/core_pattern'])
    expect(await asBob(`echo x >'${path}'`)).toMatchObject({ code: 1 });
  expect(await asBob('mount -t tmpfs none /mnt || mount --bind /workspace /usr || chroot / true')).not.toMatchObject({
    code: 0,
  });
});

test('it sees and signals no process but those of its own commands', async () => {
  const seen = await bobSees('cat /proc/[0-9]*/cmdline | tr "\\0" " "');
  expect(seen).not.toMatch(/ada-sleeps|enclave\.cjs|sls\.cjs|swtpm/);
  // Whatever the number of another's process is: this one's kills are its own enclave's alone.
  await asBob('kill -9 -1');
  expect(await asAda('pgrep -f ada-sleeps')).toMatchObject({ code: 0 });
  expect(await asBob('echo again')).toMatchObject({ stdout: 'again\n', code: 0 });
});

test("it doesn't get at its own enclave's program: its folder, its memory, its environment, its files by `sls cp`", async () => {
  expect(await bobSees('ls -A /run/sls')).toBe('');
  expect(await bobSees('cat /proc/[0-9]*/environ | tr "\\0" "\\n" | grep -E "ATTESTOR|HIDDEN|LISTEN"; true')).toBe('');
  expect(await bobSees('for p in /proc/[0-9]*; do readlink $p/exe; done | sort -u | grep -c "/run/sls/node"')).toBe(
    '0\n',
  );
  for (const path of [
    '/run/sls/identity/credential',
    '/run/sls/program/dist/enclave.cjs',
    '/proc/1/environ',
    '/proc/2/maps',
  ]) {
    const taken = await machine.sls(['cp', '-q', `enclave:${path}`, machine.path('taken')], { env: bob });
    expect(taken).toMatchObject({ code: 1, stderr: expect.stringContaining("the enclave's own") as string });
  }
  await asBob('ln -sfn /run/sls/ready link');
  writeFileSync(machine.path('given'), 'x');
  expect(await machine.sls(['cp', '-q', machine.path('given'), 'enclave:link/x'], { env: bob })).toMatchObject({
    code: 1,
  });
  // Not by what its program passes on, either.
  expect(await bobSees('for f in /proc/self/fd/*; do [ "${f##*/}" -gt 3 ] && readlink "$f"; done; true')).not.toMatch(
    /ptmx|socket|sls/,
  );
});

test("it reaches neither this machine's loopback nor its abstract sockets, and no network", async () => {
  expect(await bobSees(`exec 2>/dev/null; (echo >/dev/tcp/127.0.0.1/${loopback}) && echo reached; true`)).toBe('');
  expect(await bobSees(`grep -o '@${ABSTRACT}' /proc/net/unix; true`)).toBe('');
  expect(await bobSees('ls /sys/class/net 2>/dev/null; grep -c : /proc/net/dev')).toBe('1\n');
});

test('it has no right over anything: no capability, no new ones, no namespace of its own making, no variable of the launcher', async () => {
  expect(await bobSees('grep -E "^Cap(Inh|Prm|Eff|Amb)|^NoNewPrivs" /proc/self/status')).toBe(
    ['CapInh', 'CapPrm', 'CapEff', 'CapAmb'].map((name) => `${name}:\t${'0'.repeat(16)}\n`).join('') +
      'NoNewPrivs:\t1\n',
  );
  expect(await asBob('unshare --user true')).toMatchObject({ code: 1 });
  expect(await asBob('echo 9 >/proc/sys/user/max_user_namespaces')).toMatchObject({ code: 1 });
  expect(await bobSees('env')).not.toMatch(/SLS_TEST_SECRET|ATTESTOR|CREDENTIAL/);
});

/** Root alone can give enclaves users of their own. */
(process.getuid?.() === 0 ? test : test.skip)('started by root, each enclave has a user of its own', async () => {
  const [ada, other] = [await asAda('id -u'), await asBob('id -u')].map(({ stdout }) => Number(stdout));
  expect(ada).toBeGreaterThan(1_900_000_000);
  expect(other).toBeGreaterThan(1_900_000_000);
  expect(ada).not.toBe(other);
});

test.each(['bash', 'dash'])('%s on a terminal has its own jobs, interrupts, size and status', async (shell) => {
  const terminal = spawn(process.execPath, [built('sls'), 'exec', '-q', '-t', '--', shell, '-i'], {
    cols: 90,
    rows: 30,
    cwd: machine.folder,
    env: { ...machine.env, ...bob },
  });
  let seen = '';
  terminal.onData((text) => (seen += text));
  const ended = new Promise<number>((done) => terminal.onExit(({ exitCode }) => done(exitCode)));
  const shows = (text: string | RegExp): Promise<unknown> =>
    eventually(
      () => (typeof text === 'string' ? seen.includes(text) : text.test(seen)),
      () => `${text} in ${seen}`,
    );
  terminal.write('stty size; tty\r');
  await shows(/30 90\s+\/dev\/pts\/\d/);
  terminal.write('echo be""gun; sleep 600\r');
  await shows('begun');
  terminal.write('\x1a');
  await shows(/Stopped/);
  terminal.write('fg\r');
  // As it was typed, stopped, and called back.
  await shows(/Stopped([^]*sleep 600){2}/);
  terminal.write('\x03');
  terminal.write('echo status $?\r');
  await shows('status 130');
  terminal.write('exit 7\r');
  expect(await ended).toBe(7);
});

test('a signal goes to the command, which may take its time, and its status comes back', async () => {
  const ended = machine.sls(
    ['exec', '-q', '--', 'sh', '-c', 'trap "echo bye; exit 3" TERM; echo there; while :; do sleep 0.1; done'],
    {
      env: bob,
      onOutput: (child, stdout) => {
        if (stdout.includes('there') && !stdout.includes('bye')) child.kill('SIGTERM');
      },
    },
  );
  expect(await ended).toMatchObject({ stdout: 'there\nbye\n', code: 3 });
  expect(await asBob('kill -9 $$')).toMatchObject({ code: 137 });
});

test('where bubblewrap is missing, nothing is started: what to do is said', async () => {
  mkdirSync(machine.path('few'));
  for (const name of ['prlimit', 'flock', 'setpriv']) symlinkSync(`/usr/bin/${name}`, machine.path('few', name));
  const { code, stderr } = await machine.sls(['up', '--isolation', 'bubblewrap', '--dir', machine.path('other')], {
    env: { PATH: machine.path('few') },
  });
  expect({ code, stderr }).toEqual({ code: 1, stderr: expect.stringContaining('apt install bubblewrap') as string });
  expect(existsSync(machine.path('other', 'keys'))).toBe(false);
});

test('what a command leaves behind without a trace of whose it is ends with its enclave', async () => {
  const name = `left-${process.pid}`;
  expect(
    await asBob(`env -i setsid bash -c 'exec -a ${name} sleep 3600' >/dev/null 2>&1 </dev/null & sleep 0.2`),
  ).toMatchObject({ code: 0 });
  const running = (): boolean =>
    readdirSync('/proc').some((pid) => {
      try {
        return readFileSync(`/proc/${pid}/cmdline`, 'utf8').startsWith(name);
      } catch {
        return false;
      }
    });
  await eventually(running);
  expect(await machine.sls(['enclaves', 'stop', 'default'], { env: bob })).toMatchObject({ code: 0 });
  await eventually(() => !running());
});
