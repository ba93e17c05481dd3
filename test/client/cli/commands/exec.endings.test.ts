import { spawn } from 'node:child_process';
import { spawn as spawnOnTerminal } from '@lydell/node-pty';
import { built } from '../../../support/built';
import { eventually } from '../../../support/eventually';
import { Machine } from '../../../support/machine';

let machine: Machine;
beforeAll(async () => {
  machine = new Machine();
  // One seat: whoever comes next finds out whether the one before has ended.
  await machine.startService([], { DEFAULT_SEATS: '1' });
  await machine.signUpAndLogin();
});
afterAll(() => machine.remove());

/** Processes with exactly this command line. */
const running = (text: string): number => machine.processes().filter(({ command }) => command === text).length;
const nextRuns = async (): Promise<void> => {
  const { code, stderr } = await machine.sls(['exec', '-q', 'true']);
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
};

/** A line of a shell in which `sls` is ours. */
function shell(line: string): Promise<string> {
  const child = spawn('bash', ['-c', `sls() { "$0" '${built('sls')}' "$@"; }; ${line}`, process.execPath], {
    cwd: machine.folder,
    env: machine.env,
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let stdout = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => (stdout += text));
  return new Promise((resolve) => child.once('close', () => resolve(stdout)));
}

test('a reader that ends, as head does, ends the command and its seat', async () => {
  expect((await machine.sls(['exec', '-q', 'truncate', '-s', '100M', 'large'])).code).toBe(0);
  for (const what of ['exec -q -- yes 98765', 'cp -q enclave:large -', 'exec -q -- sh -c "exec yes 98765 >&2" 2>&1']) {
    const said = await shell(`sls ${what} | head -c 6 | wc -c; echo \${PIPESTATUS[0]}`);
    expect({ what, said }).toEqual({ what, said: '6\n141\n' });
    await eventually(() => running('yes 98765') === 0);
    await nextRuns();
  }
});

test.each([['SIGTERM'], ['SIGINT'], ['SIGHUP']] as const)(
  '%s before the command runs gives back what was taken',
  async (signal) => {
    let killed = false;
    const { code } = await machine.sls(['exec', '--', 'sleep', '98765'], {
      onStart: (child) =>
        child.stderr?.on('data', () => {
          if (!killed) child.kill(signal);
          killed = true;
        }),
    });
    expect(code).toBe({ SIGTERM: 143, SIGINT: 130, SIGHUP: 129 }[signal]);
    await eventually(() => running('sleep 98765') === 0);
    await nextRuns();
  },
);

test('whoever presses Ctrl-C three times gets out of a command that ignores it, and leaves nothing there', async () => {
  const { code } = await machine.sls(
    ['exec', '-q', '--', 'sh', '-c', 'trap "echo no" INT; echo ready; while :; do sleep 0.1; done # 98765'],
    {
      onOutput: (child, stdout) => {
        // One for each that it has said no to.
        child.kill('SIGINT');
        void stdout;
      },
    },
  );
  expect(code).toBe(130);
  await eventually(() => machine.processes().every(({ command }) => !command.includes('# 98765')));
  await nextRuns();
});

test('a terminal that is closed ends a command that ignores SIGHUP, and its seat', async () => {
  const terminal = spawnOnTerminal(
    process.execPath,
    [built('sls'), 'exec', '-q', '-n', '--', 'sh', '-c', 'trap "" HUP; echo ready; exec sleep 98765'],
    {
      cwd: machine.folder,
      env: machine.env,
    },
  );
  let seen = '';
  terminal.onData((text) => (seen += text));
  await eventually(() => seen.includes('ready'));
  const ended = new Promise((resolve) => terminal.onExit(resolve));
  (terminal as unknown as { destroy(): void }).destroy();
  await ended;
  await eventually(() => running('sleep 98765') === 0);
  await nextRuns();
});
