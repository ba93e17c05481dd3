import type { ChildProcess } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import { eventually } from '../support/eventually';
import { Machine, PASSWORD } from '../support/machine';

let machine: Machine;
let service: ChildProcess;
beforeAll(async () => {
  machine = new Machine();
  service = await machine.startService();
  await machine.signUpAndLogin();
});
afterAll(() => machine.remove());

const sleepers = (): number => machine.processes().filter(({ command }) => /^sleep 98765/.test(command)).length;

/** Starts a long command in the enclave and hands on once it runs there. */
async function whileCommandRuns(then: (child: ChildProcess) => void): ReturnType<Machine['sls']> {
  let told = false;
  return machine.sls(['exec', '-q', '--', 'sh', '-c', 'echo started; exec sleep 98765'], {
    onOutput: (child, stdout) => {
      if (told || !stdout.includes('started')) return;
      told = true;
      void eventually(() => sleepers() === 1).then(() => then(child));
    },
  });
}

test.each([
  ['SIGINT', 130],
  ['SIGTERM', 143],
  ['SIGHUP', 129],
] as const)('%s to sls exec reaches the command, which ends, and its status comes back', async (signal, status) => {
  const { code } = await whileCommandRuns((child) => child.kill(signal));
  expect(code).toBe(status);
  expect(sleepers()).toBe(0);
});

test('sls exec that is killed leaves no command behind in the enclave', async () => {
  const { signal } = await whileCommandRuns((child) => child.kill('SIGKILL'));
  expect(signal).toBe('SIGKILL');
  await eventually(() => sleepers() === 0);
});

test('a killed enclave: a clear error, none of its commands left, and the next command logs in again by itself', async () => {
  const pid = machine.pidOf('enclave.cjs');
  const { code, stderr } = await whileCommandRuns(() => process.kill(pid, 'SIGKILL'));
  expect(code).toBe(6);
  expect(stderr).toMatch(/^sls: .*(enclave|connection).*\nhint: .+\n$/);
  await eventually(() => sleepers() === 0);
  const next = await machine.sls(['exec', '--', 'echo', 'again']);
  expect({ code: next.code, stdout: next.stdout }).toEqual({ code: 0, stdout: 'again\n' });
  expect(next.stderr).toContain('the enclave is gone: logging in again');
});

test.each(['ended by SIGTERM', 'deleted'])(
  'an enclave that is %s under a command: exit 6 and a word, not the status of a command that came to its own end',
  async (how) => {
    const pid = machine.pidOf('enclave.cjs');
    const { code, stderr } = await whileCommandRuns(
      () =>
        void (how === 'deleted'
          ? machine.sls(['enclaves', 'delete', 'default', '--yes'])
          : process.kill(pid, 'SIGTERM')),
    );
    expect({ code, stderr }).toEqual({
      code: 6,
      stderr: expect.stringMatching(
        /^sls: the (enclave was stopped while the command ran|connection to the enclave ended)\nhint: .+\n$/,
      ) as string,
    });
    await eventually(() => sleepers() === 0);
    const logIn = ['login', '-q', '--username', 'ada', '--password-stdin'];
    const again = how === 'deleted' ? logIn : ['exec', '-q', 'true'];
    expect(await machine.sls(again, { stdin: `${PASSWORD}\n` })).toMatchObject({ code: 0 });
  },
);

test('a killed attestor: the session goes on, the attestor comes back, and the enclave gets evidence from it again', async () => {
  const killed = machine.pidOf('attestor-daemon.cjs');
  const { stdout } = await machine.sls(['exec', '-q', '--', 'sh', '-c', 'echo before; sleep 1; echo after'], {
    onOutput: (_child, text) => {
      if (!text.includes('after') && text.includes('before')) process.kill(killed, 'SIGKILL');
    },
  });
  expect(stdout).toBe('before\nafter\n');
  await worksAgain(['exec', '-q', 'true']);
  expect(machine.pidOf('attestor-daemon.cjs')).not.toBe(killed);
});

test('an attestor that is killed again and again under commands: each ends well or with 6 and a hint, and the next works', async () => {
  for (let round = 0; round < 3; round++) {
    const running = Array.from({ length: 4 }, () => machine.sls(['exec', '-q', 'true']));
    const first = machine.pidOf('attestor-daemon.cjs');
    process.kill(first, 'SIGKILL');
    // The enclave has used up what was there for the second one; the third starts with commands under way.
    const second = await eventually(() => {
      const [found] = machine.processes().filter(({ command }) => command.includes('attestor-daemon.cjs'));
      return found !== undefined && found.pid !== first && found.pid;
    });
    await Promise.race(running);
    process.kill(second, 'SIGKILL');
    for (const { code, stderr } of await Promise.all(running)) {
      if (code === 0) continue;
      expect({ code, stderr }).toEqual({ code: 6, stderr: expect.stringMatching(/^sls: .+\nhint: .+\n$/) as string });
    }
    await worksAgain(['exec', '-q', 'true']);
  }
});

test('a killed TPM: comes back, and quotes again', async () => {
  const killed = machine.pidOf('swtpm socket');
  process.kill(killed, 'SIGKILL');
  await worksAgain(['exec', '-q', 'true']);
  expect(machine.pidOf('swtpm socket')).not.toBe(killed);
});

test('without TPM and attestor the errors are clear and the exit code is 6', async () => {
  // Stopped, not killed: nobody starts them again.
  const stopped = ['attestor-daemon.cjs', 'swtpm socket'].map((name) => machine.pidOf(name));
  for (const pid of stopped) process.kill(pid, 'SIGSTOP');
  try {
    const { code, stderr } = await machine.sls(['exec', '-q', 'true']);
    expect(code).toBe(6);
    expect(stderr).toMatch(/^sls: .+\nhint: .+\n$/);
  } finally {
    for (const pid of stopped) process.kill(pid, 'SIGCONT');
  }
  await worksAgain(['exec', '-q', 'true']);
});

test('a second sls up in the same folder is refused and disturbs nothing', async () => {
  const { code, stderr } = await machine.sls(['up']);
  expect(code).toBe(1);
  expect(stderr).toMatch(
    new RegExp(`another sls up is running this installation \\(process ${service.pid}\\)\nhint: .+--dir`),
  );
  expect((await machine.sls(['exec', '-q', 'echo', 'still here'])).stdout).toBe('still here\n');
});

test.each(['SIGINT', 'SIGTERM', 'SIGHUP'] as const)(
  '%s ends sls up in order: no process, no socket, no pid file; the next run works',
  async (signal) => {
    const { code, stderr } = await machine.stopService(signal);
    expect({ code, stderr }).toEqual({ code: 0, stderr: expect.stringContaining('stopped') });
    expect(await machine.leftOver()).toEqual([]);
    expect([existsSync(machine.server('run')), existsSync(machine.server('up.pid'))]).toEqual([false, false]);
    service = await machine.startService();
    const { code: next } = await machine.sls(['exec', '-q', 'true']);
    expect(next).toBe(0);
  },
);

test('sls up that is killed takes everything with it, and the next run works', async () => {
  service.kill('SIGKILL');
  expect(await machine.leftOver()).toEqual([]);
  service = await machine.startService();
  expect((await machine.sls(['exec', '-q', 'true'])).code).toBe(0);
});

test('sls up that is ended while it starts leaves nothing behind', async () => {
  await machine.stopService();
  for (const line of ['software TPM', 'PostgreSQL', 'enrol', 'attestor-daemon', 'login']) {
    const { code } = await machine.sls(['up'], {
      onStart: (child) => {
        child.stderr?.on('data', (text: Buffer) => {
          if (text.includes(`starting ${line}`) || text.includes(`starting the ${line}`)) child.kill('SIGTERM');
        });
      },
    });
    expect({ line, code, left: await machine.leftOver(), run: existsSync(machine.server('run')) }).toEqual({
      line,
      code: 0,
      left: [],
      run: false,
    });
  }
  service = await machine.startService();
  expect((await machine.sls(['exec', '-q', 'true'])).code).toBe(0);
});

test('enclaves that nobody uses end by themselves; their files stay', async () => {
  await machine.stopService();
  service = await machine.startService(['--idle', '2']);
  expect((await machine.sls(['exec', '-q', '--', 'sh', '-c', 'echo kept > note; sleep 4; echo busy'])).stdout).toBe(
    'busy\n',
  );
  await eventually(() => readdirSync(machine.server('run', 'enclaves')).length === 0);
  expect(machine.processes().filter(({ command }) => command.includes('enclave.cjs'))).toEqual([]);
  expect((await machine.sls(['exec', '-q', 'cat', 'note'])).stdout).toBe('kept\n');
});

/** Until what was killed is back: meanwhile it is refused in words. */
function worksAgain(args: string[]): Promise<boolean> {
  return eventually(async () => {
    const { code, stderr } = await machine.sls(args);
    if (code === 0) return true;
    expect({ code, stderr }).toEqual({ code: 6, stderr: expect.stringMatching(/^sls: .+\nhint: .+\n$/) });
    return false;
  });
}
