import { once } from 'node:events';
import { PassThrough } from 'node:stream';
import { connect } from '../../../client/index';
import type { EnclaveConnection } from '../../../client/index';
import { startEnclaveFixture } from '../../support/enclave';
import type { EnclaveFixture } from '../../support/enclave';
import { eventually, stalled } from '../../support/eventually';
import { isAlive, runCommand, startCommand } from '../../support/remote-command';

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

const TERMINAL = { columns: 80, rows: 24 };
const WAYS: Array<[string, typeof TERMINAL | undefined]> = [
  ['pipes', undefined],
  ['a terminal', TERMINAL],
];

describe.each(WAYS)('with %s', (_name, terminal) => {
  test('what a command leaves behind writes to its output until it is done, and the status is the command’s', async () => {
    // The rest is written once the command itself is gone, and after more than any quiet moment.
    const later = 'while kill -0 $0 2>/dev/null; do sleep 0.05; done; sleep 0.5; echo late';
    const left = await runCommand(connection, ['sh', '-c', `trap "" HUP; sh -c '${later}' $$ & echo early; exit 3`], {
      terminal,
    });
    expect({ code: left.code, stdout: left.stdout.replaceAll('\r', '') }).toEqual({ code: 3, stdout: 'early\nlate\n' });
  });

  test('whoever doesn’t want to wait for that is told the status when the command ends', async () => {
    const { code, stdout } = await runCommand(connection, ['sh', '-c', 'sleep 1000 & echo $!; exit 4'], {
      terminal,
      detach: true,
    });
    expect(code).toBe(4);
    const pid = Number(stdout);
    if (terminal === undefined) expect(isAlive(pid)).toBe(true);
    if (isAlive(pid)) process.kill(pid, 'SIGKILL');
  });

  test('what is left behind ends with the call', async () => {
    const cancelling = new AbortController();
    const running = startCommand(connection, ['sh', '-c', 'trap "" HUP; sleep 1000 & echo "pid $!."'], {
      terminal,
      signal: cancelling.signal,
    });
    await running.shows('.');
    const pid = Number(/pid (\d+)/.exec(running.output.stdout)?.[1]);
    expect(isAlive(pid)).toBe(true);
    cancelling.abort();
    await expect(running.exit).toRejectWithCode('rpc.cancelled');
    await eventually(() => !isAlive(pid));
    await eventually(async () => (await connection.status()).commands === 0);
  });
});

test('what is left behind by --detach writes on without a reader, and is not ended by that', async () => {
  const left = '(until [ -e go ]; do sleep 0.05; done; seq 100000; echo nobody reads this; echo on > after) &';
  const { code, stdout } = await runCommand(connection, ['sh', '-c', `${left} echo early; exit 4`], { detach: true });
  expect({ code, stdout }).toEqual({ code: 4, stdout: 'early\n' });
  await runCommand(connection, ['touch', 'go']);
  const waiting = ['sh', '-c', 'until [ -s after ]; do sleep 0.05; done; cat after'];
  expect((await runCommand(connection, waiting)).stdout).toBe('on\n');
});

test('a command that closes its terminal before it ends is not hung up', async () => {
  const closing = 'echo early; exec <&- >&- 2>&-; sleep 0.5; exit 5';
  expect(await runCommand(connection, ['sh', '-c', closing], { terminal: TERMINAL })).toMatchObject({
    code: 5,
    signal: '',
    stdout: 'early\r\n',
  });
});

test('all of a large output on a terminal arrives, however slowly it is read', async () => {
  let bytes = 0;
  const stdout = new PassThrough({ highWaterMark: 1024 });
  const exit = connection.exec(['sh', '-c', 'stty raw; head -c 3000000 /dev/zero'], {
    stdin: new PassThrough(),
    stdout,
    stderr: new PassThrough(),
    terminal: TERMINAL,
  });
  await once(stdout, 'readable');
  // All who could go on have done so: the end is written, and not yet read.
  await stalled(() => stdout.readableLength);
  stdout.on('data', (chunk: Buffer) => (bytes += chunk.length));
  expect(await exit).toMatchObject({ code: 0 });
  expect(bytes).toBe(3_000_000);
});

test('Ctrl-C ends the wait for what holds the terminal after the command', async () => {
  const running = startCommand(connection, ['sh', '-c', 'trap "" HUP; sleep 1000 & echo "pids $$ $!."; exit 5'], {
    terminal: TERMINAL,
  });
  await running.shows('.');
  const [shell = 0, left = 0] = running.output.stdout.match(/\d+/g)!.map(Number);
  await eventually(() => !isAlive(shell));
  const pressing = setInterval(() => running.stdin.write('\x03'), 20);
  try {
    expect(await running.exit).toEqual({ code: 5, signal: '' });
  } finally {
    clearInterval(pressing);
    process.kill(left, 'SIGKILL');
  }
});

test.each(['', 'a line\n', 'no line', 'two\nlines', 'ended by hand\x04'])(
  'input that is at its end ends that of a terminal: %j',
  async (typed) => {
    const running = startCommand(connection, ['sh', '-c', 'stty -echo; echo ready; cat; echo over'], {
      terminal: TERMINAL,
    });
    await running.shows('ready');
    running.stdin.end(typed);
    expect(await running.exit).toMatchObject({ code: 0 });
    const shown = typed.replace('\x04', '').replaceAll('\n', '\r\n');
    expect(running.output.stdout).toBe(`ready\r\n${shown}over\r\n`);
  },
);

test('a size that nobody knows is zero by zero there too, and can become known', async () => {
  const unknown = { columns: 0, rows: 0 };
  expect(await runCommand(connection, ['stty', 'size'], { terminal: unknown })).toMatchObject({ stdout: '0 0\r\n' });
  const running = startCommand(
    connection,
    ['sh', '-c', 'trap "stty size; exit 5" WINCH; echo ready; while :; do sleep 0.05; done'],
    { terminal: unknown },
  );
  await running.shows('ready');
  running.control.resize({ columns: 132, rows: 43 });
  expect(await running.exit).toMatchObject({ code: 5 });
  expect(running.output.stdout).toContain('43 132');
});
