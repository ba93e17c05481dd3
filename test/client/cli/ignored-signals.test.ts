import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { built } from '../../support/built';
import { eventually } from '../../support/eventually';
import { Machine } from '../../support/machine';

let machine: Machine;
beforeAll(async () => {
  machine = new Machine();
  await machine.startService();
  await machine.signUpAndLogin();
});
afterAll(() => machine.remove());

interface Started {
  child: ChildProcess;
  output(): string;
  ended: Promise<number | NodeJS.Signals | null>;
}

/** Starts sls by its own first line, as a shell does. */
function start(program: string, args: string[]): Started {
  const child = spawn(program, args, { cwd: machine.folder, env: machine.env, stdio: ['ignore', 'pipe', 'pipe'] });
  let output = '';
  for (const stream of [child.stdout, child.stderr])
    stream.setEncoding('utf8').on('data', (text: string) => (output += text));
  const ended = new Promise<number | NodeJS.Signals | null>((resolve) =>
    child.once('close', (code, signal) => resolve(signal ?? code)),
  );
  return { child, output: () => output, ended };
}

const UNTIL_GO = 'echo ready; while [ ! -e go ]; do sleep 0.1; done; rm go; echo done';
const exec = ['exec', '-q', '--', 'sh', '-c', UNTIL_GO];

test('nohup sls exec goes on when its terminal hangs up', async () => {
  const { child, output, ended } = start('nohup', [built('sls'), ...exec]);
  await eventually(() => output().includes('ready'));
  child.kill('SIGHUP');
  expect((await machine.sls(['exec', 'touch', 'go'])).code).toBe(0);
  expect(await ended).toBe(0);
  expect(output()).toContain('done');
});

test('without nohup it ends, and its command with it', async () => {
  const { child, output, ended } = start(built('sls'), exec);
  await eventually(() => output().includes('ready'));
  child.kill('SIGHUP');
  expect(await ended).toBe(129);
});

test('any other signal that is ignored stays so, and those that are not are taken', async () => {
  const { child, output, ended } = start('env', ['--ignore-signal=INT,USR1', built('sls'), ...exec]);
  await eventually(() => output().includes('ready'));
  for (const signal of ['SIGINT', 'SIGUSR1'] as const) child.kill(signal);
  child.kill('SIGTERM');
  expect(await ended).toBe(143);
});

test('nohup sls up serves on, and ends when it is told to', async () => {
  await machine.stopService();
  const { child, output, ended } = start('nohup', [built('sls'), 'up', '--json']);
  try {
    await eventually(() => output().includes('starting'));
    child.kill('SIGHUP');
    await eventually(() => output().includes('"ready": true'));
    child.kill('SIGHUP');
    expect((await machine.sls(['exec', '-q', 'echo', 'served'])).stdout).toBe('served\n');
  } finally {
    child.kill('SIGTERM');
  }
  expect(await ended).toBe(0);
});
