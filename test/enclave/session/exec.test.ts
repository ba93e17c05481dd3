import { once } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';
import { PassThrough, Readable } from 'node:stream';
import { connect } from '../../../client/index';
import type { EnclaveConnection, ExecOptions } from '../../../client/index';
import { startEnclaveFixture } from '../../support/enclave';
import { eventually, stalled } from '../../support/eventually';
import type { EnclaveFixture } from '../../support/enclave';
import { isAlive, runCommand, startCommand } from '../../support/remote-command';
import type { RemoteCommand } from '../../support/remote-command';

let fixture: EnclaveFixture;
let connection: EnclaveConnection;
beforeAll(async () => {
  fixture = await startEnclaveFixture();
  connection = await connect(fixture.trust, await fixture.session());
});
afterAll(async () => {
  connection.close();
  await fixture.stop();
});

const start = (argv: string[], options?: Partial<ExecOptions>, over = connection): RemoteCommand =>
  startCommand(over, argv, options);
const run = (argv: string[], options?: Partial<ExecOptions>): ReturnType<typeof runCommand> =>
  runCommand(connection, argv, options);

/** Until the enclave has no command left. */
async function untilIdle(): Promise<void> {
  await eventually(async () => (await connection.status()).commands === 0);
}

/** A command has two seconds after SIGTERM. One that stays would stay for ever. */
async function untilDead(pid: number): Promise<void> {
  try {
    await eventually(
      () => !isAlive(pid),
      () => `the process ${pid} is dead`,
      30_000,
    );
  } finally {
    if (isAlive(pid)) process.kill(pid, 'SIGKILL');
  }
}

test('exit status, standard output and standard error arrive', async () => {
  expect(await run(['sh', '-c', 'echo out; echo err >&2; exit 7'])).toEqual({
    code: 7,
    signal: '',
    stdout: 'out\n',
    stderr: 'err\n',
  });
});

test('no shell is put between, and arguments stay as they are', async () => {
  expect(await run(['printf', '%s|', '$HOME', 'a b', '', '*', '"; ls'])).toMatchObject({
    code: 0,
    stdout: '$HOME|a b||*|"; ls|',
  });
});

test('a command that ends by a signal says so', async () => {
  expect(await run(['sh', '-c', 'kill -KILL $$'])).toMatchObject({ code: 137, signal: 'SIGKILL' });
});

test('the environment holds what was asked for, and nothing of the enclave', async () => {
  process.env['ATTESTOR_CREDENTIAL_FILE'] = '/secret';
  const { stdout } = await run(['env'], { env: { COLOR: 'green' } });
  delete process.env['ATTESTOR_CREDENTIAL_FILE'];
  expect(stdout).toContain('COLOR=green\n');
  expect(stdout).not.toContain('ATTESTOR');
});

test('the directory is the workspace, or one relative to it', async () => {
  expect((await run(['pwd'])).stdout).toBe(`${fixture.workspace}\n`);
  await run(['mkdir', 'deeper']);
  expect((await run(['pwd'], { directory: 'deeper' })).stdout).toBe(`${fixture.workspace}/deeper\n`);
});

test('what cannot be started is an error with a code', async () => {
  await expect(run(['no-such-program'])).toRejectWithCode('exec.not_found', {
    message: '"no-such-program": no such program',
  });
  await expect(run(['/etc/passwd'])).toRejectWithCode('exec.not_executable');
  await expect(run(['pwd'], { directory: 'nowhere' })).toRejectWithCode('file.not_found');
  await expect(run([])).toRejectWithCode('exec.argv');
  await expect(run(['echo', 'a\0b'])).toRejectWithCode('exec.argv');
  await expect(run(['env'], { env: { 'A=B': 'c' } })).toRejectWithCode('exec.env');
});

test('a signal reaches the command and what it started', async () => {
  const running = start(['sh', '-c', 'trap "echo caught; exit 3" INT; echo ready; while :; do sleep 0.05; done']);
  await running.shows('ready');
  running.control.signal('SIGINT');
  expect(await running.exit).toEqual({ code: 3, signal: '' });
  expect(running.output.stdout).toContain('caught');
});

test('a signal that there is not is an error, and ends the command', async () => {
  const running = start(['sleep', '20']);
  running.control.signal('SIGNOT');
  await expect(running.exit).toRejectWithCode('exec.signal');
});

test('a signal gets through to a command that does not read its input', async () => {
  let read = 0;
  const stdin = Readable.from(
    (function* () {
      for (; read < 400; read++) yield Buffer.alloc(65_536);
    })(),
  );
  const running = start(['sleep', '1000'], { stdin });
  // The pipe's 64 KiB, and what the connection holds, are full.
  await stalled(() => read);
  expect(read).toBeLessThan(400);
  running.control.signal('SIGTERM');
  expect(await running.exit).toEqual({ code: 143, signal: 'SIGTERM' });
  await untilIdle();
});

test('input that the command does not want is no failure', async () => {
  expect(
    await run(['true'], { stdin: Readable.from(Array.from({ length: 50 }, () => Buffer.alloc(65_536))) }),
  ).toMatchObject({ code: 0 });
});

test('a slow reader costs no memory and loses nothing', async () => {
  let bytes = 0;
  const stdout = new PassThrough({ highWaterMark: 1024 });
  const [stdin, stderr] = [new PassThrough(), new PassThrough()];
  const command = 'echo $$ >&2; read go; exec head -c 67108864 /dev/zero';
  const exit = connection.exec(['sh', '-c', command], { stdin, stdout, stderr });
  const [chunk] = (await once(stderr, 'data')) as [Buffer];
  // Not before: what nobody reads of one output holds the other one up, and they come in either order.
  stdin.end('\n');
  // proc(5): bytes that it has written, unless it has got rid of all of them. Nobody has read any.
  const written = (): number => {
    const io = `/proc/${Number(chunk)}/io`;
    return existsSync(io) ? Number(/wchar: (\d+)/.exec(readFileSync(io, 'utf8'))?.[1]) : Infinity;
  };
  await eventually(() => written() > 0);
  await stalled(written);
  expect(written()).toBeLessThan(16 * 1024 * 1024);
  stdout.on('data', (chunk: Buffer) => (bytes += chunk.length));
  expect(await exit).toEqual({ code: 0, signal: '' });
  expect(bytes).toBe(67_108_864);
});

describe('a terminal', () => {
  const terminal = { columns: 101, rows: 33 };

  test('has the size that was asked for, and the next one', async () => {
    const running = start(['sh', '-c', 'trap "stty size; exit 5" WINCH; stty size; while :; do sleep 0.05; done'], {
      terminal,
    });
    await running.shows('33 101');
    running.control.resize({ columns: 80, rows: 24 });
    expect(await running.exit).toEqual({ code: 5, signal: '' });
    expect(running.output.stdout).toContain('24 80');
  });

  test('is no larger than a terminal can be', async () => {
    const script = 'trap "stty size; exit" WINCH; stty size; while :; do sleep 0.05; done';
    const running = start(['sh', '-c', script], { terminal: { columns: 65_536 + 80, rows: 65_536 } });
    await eventually(() => /\d+ \d+/.test(running.output.stdout));
    expect(running.output.stdout).toContain('65535 65535');
    running.control.resize({ columns: 65_536 + 81, rows: 24 });
    await running.exit;
    expect(running.output.stdout).toContain('24 65535');
  });

  test('takes keys: Ctrl-C interrupts, Ctrl-D ends the input', async () => {
    const interrupted = start(['sh', '-c', 'echo ready; exec sleep 1000'], { terminal });
    await interrupted.shows('ready');
    interrupted.stdin.write('\x03');
    expect(await interrupted.exit).toEqual({ code: 130, signal: 'SIGINT' });
    const ended = start(['sh', '-c', 'cat; echo over'], { terminal });
    ended.stdin.end('typed\n');
    expect(await ended.exit).toEqual({ code: 0, signal: '' });
    expect(ended.output.stdout).toContain('over');
  });
});

describe('no orphans', () => {
  const script = 'sleep 1000 & echo "pids $$ $!."; wait';

  async function pids(running: RemoteCommand): Promise<number[]> {
    await running.shows('.');
    return running.output.stdout.match(/\d+/g)!.map(Number);
  }

  test.each([
    ['with pipes', undefined],
    ['with a terminal', { columns: 80, rows: 24 }],
  ])('the call is cancelled, %s', async (_name, terminal) => {
    const cancelling = new AbortController();
    const running = start(['sh', '-c', script], { terminal, signal: cancelling.signal });
    const processes = await pids(running);
    cancelling.abort();
    await expect(running.exit).toRejectWithCode('rpc.cancelled');
    for (const pid of processes) await untilDead(pid);
    await untilIdle();
  });

  test('the connection is closed', async () => {
    const other = await connect(fixture.trust, await fixture.session());
    const running = start(['sh', '-c', script], {}, other);
    const processes = await pids(running);
    other.close();
    await expect(running.exit).toRejectWithCode('connection.closed');
    for (const pid of processes) await untilDead(pid);
    await untilIdle();
  });

  test('a command that ignores SIGTERM is killed', async () => {
    const cancelling = new AbortController();
    const running = start(['sh', '-c', 'trap "" TERM; echo "pids $$."; while :; do sleep 0.05; done'], {
      signal: cancelling.signal,
    });
    const [pid] = await pids(running);
    cancelling.abort();
    await untilDead(pid!);
  });
});
