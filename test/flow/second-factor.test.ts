import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { Authenticator } from '../support/authenticator';
import { built } from '../support/built';
import { Machine, PASSWORD } from '../support/machine';
import type { Ended } from '../support/machine';

let machine: Machine;
beforeAll(async () => {
  machine = new Machine();
  await machine.startService();
  await machine.signUpAndLogin('ada');
});
afterAll(() => machine.remove());

/** `sls totp enable` as a person does it: the password, then what the authenticator makes of the secret that is shown. */
async function enable(): Promise<{ authenticator: Authenticator; recoveryCodes: string[]; stderr: string }> {
  const child = spawn(process.execPath, [built('sls'), 'totp', 'enable', '--password-stdin', '--json'], {
    env: machine.env,
  });
  child.stdin.write(`${PASSWORD}\n`);
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
  return { authenticator, recoveryCodes: (JSON.parse(stdout) as { recoveryCodes: string[] }).recoveryCodes, stderr };
}

const logIn = (...lines: string[]): Promise<Ended> =>
  machine.sls(['login', '--username', 'ada', '--password-stdin'], { stdin: lines.map((line) => `${line}\n`).join('') });

test('a second factor from its enrolment to its end, at the command line', async () => {
  const { authenticator, recoveryCodes, stderr } = await enable();
  expect(recoveryCodes).toHaveLength(10);
  expect(stderr).toContain('otpauth://totp/');
  expect(JSON.parse((await machine.sls(['totp', 'status', '--json'])).stdout)).toMatchObject({
    enabled: true,
    recoveryCodes: 10,
  });

  expect(await logIn(PASSWORD)).toMatchObject({ code: 4, stderr: expect.stringContaining('hint: ') as string });
  expect(await logIn(PASSWORD, authenticator.wrong())).toMatchObject({
    code: 4,
    stderr: expect.stringContaining('code') as string,
  });
  // Who has not the password is not told that there is a second factor.
  const guess = await logIn('wrong horse battery staple', authenticator.wrong());
  expect(guess.code).toBe(4);
  expect(guess.stderr).not.toMatch(/authenticator|code/);
  // The code of enrolment is used up, so the next one is taken; clocks may differ by so much.
  expect(await logIn(PASSWORD, authenticator.code(1))).toMatchObject({ code: 0 });
  expect(await logIn(PASSWORD, authenticator.code(1))).toMatchObject({ code: 4 });
  expect(await logIn(PASSWORD, recoveryCodes[0] ?? '')).toMatchObject({ code: 0 });
  expect(await logIn(PASSWORD, recoveryCodes[0] ?? '')).toMatchObject({ code: 4 });
  // A session that goes on asks for nothing.
  expect((await machine.sls(['exec', '--', 'echo', 'ok'])).stdout).toBe('ok\n');

  expect(await machine.sls(['admin', 'user', 'reset-second-factor', 'ada', '--reason', 'lost phone'])).toMatchObject({
    code: 0,
  });
  expect(await machine.sls(['admin', 'audit', 'tail', '--json'])).toMatchObject({
    stdout: expect.stringContaining('admin.reset_second_factor') as string,
  });
  expect(await logIn(PASSWORD)).toMatchObject({ code: 0 });
});

test('deleting the account takes both factors', async () => {
  const { recoveryCodes } = await enable();
  const remove = (...lines: string[]): Promise<Ended> =>
    machine.sls(['account', 'delete', '--yes', '--password-stdin'], {
      stdin: lines.map((line) => `${line}\n`).join(''),
    });
  expect(await remove(PASSWORD)).toMatchObject({ code: 4 });
  expect(await remove(PASSWORD, '000000')).toMatchObject({ code: 4 });
  expect((await machine.sls(['exec', '--', 'echo', 'ok'])).stdout).toBe('ok\n');
  expect(await remove(PASSWORD, recoveryCodes[0] ?? '')).toMatchObject({ code: 0 });
});

test('neither secret nor codes are taken from the arguments', async () => {
  for (const args of [
    ['totp', 'enable', '123456'],
    ['login', '--code', '123456'],
    ['totp', 'disable', '--code', '123456'],
  ]) {
    expect(await machine.sls(args)).toMatchObject({ code: 2 });
  }
});
