import { Machine, PASSWORD } from '../support/machine';
import { clockOff } from '../support/wrong-clock';

let machine: Machine;
beforeAll(async () => {
  machine = new Machine();
  await machine.startService();
  await machine.signUpAndLogin();
});
afterAll(() => machine.remove());

const OFF = [
  ['-2m', 'behind', '2 minutes'],
  ['+2m', 'ahead of', '2 minutes'],
  ['-1h', 'behind', '1 hour'],
  ['+1h', 'ahead of', '1 hour'],
  ['-1d', 'behind', '1 day'],
  ['+1d', 'ahead of', '1 day'],
  ['-400d', 'behind', '400 days'],
  ['+400d', 'ahead of', '400 days'],
] as const;

test.each(OFF)(
  'a client whose clock is off by %s: login is refused, and the hint is the clock',
  async (by, side, much) => {
    const { code, stderr } = await machine.sls(['login', '--username', 'ada', '--password-stdin'], {
      stdin: `${PASSWORD}\n`,
      env: clockOff(by),
    });
    expect({ code: [5, 6].includes(code ?? 0), stderr }).toEqual({
      code: true,
      stderr: expect.stringContaining(`\nhint: this machine's clock is ${much} ${side} the service's`) as string,
    });
    expect(stderr).not.toContain('someone may stand between');
  },
);

test.each(OFF)(
  'a client whose clock is off by %s, with a session: exec is refused in the same words',
  async (by, side, much) => {
    const { code, stderr } = await machine.sls(['exec', '-q', 'true'], { env: clockOff(by) });
    expect({ code: [4, 5, 6].includes(code ?? 0), stderr }).toEqual({
      code: true,
      stderr: expect.stringContaining(`hint: this machine's clock is ${much} ${side} the service's`) as string,
    });
    // Put right, all is as before.
    const right = await machine.sls(['exec', '-q', 'true']);
    expect({ code: right.code, stderr: right.stderr }).toEqual({ code: 0, stderr: '' });
  },
);

test('a clock that is off by less than that disturbs nobody', async () => {
  for (const by of ['-30s', '+30s'])
    expect(await machine.sls(['exec', '-q', 'true'], { env: clockOff(by) })).toMatchObject({ code: 0, stderr: '' });
});

test('with --json the difference is a number', async () => {
  const { stdout } = await machine.sls(['audit', 'check', '--json'], { env: clockOff('-1d') });
  const { error } = JSON.parse(stdout) as { error: { clockAheadSeconds: number } };
  expect(Math.abs(error.clockAheadSeconds + 86_400)).toBeLessThan(30);
});

test('archived evidence is good as of its time, and the hint says which that is', async () => {
  const file = machine.path('evidence.json');
  expect((await machine.sls(['login', '--evidence', file])).code).toBe(0);
  for (const by of ['+1h', '+8d', '+4000d']) {
    const { code, stderr } = await machine.sls(['verify', file], { env: clockOff(by) });
    const [, at = ''] = /\nhint: it was issued at (\S+); to verify as of that time: --at \S+\n$/.exec(stderr) ?? [];
    expect({ by, code, stderr }).toEqual({ by, code: 5, stderr: expect.stringContaining(`--at ${at}`) as string });
    expect((await machine.sls(['verify', file, '--at', at], { env: clockOff(by) })).code).toBe(0);
  }
  const early = await machine.sls(['verify', file], { env: clockOff('-1h') });
  expect(early.stderr).toContain("is this machine's clock right?");
});
