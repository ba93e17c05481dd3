import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import { built } from '../support/built';
import { Machine, PASSWORD } from '../support/machine';

let machine: Machine;
beforeAll(async () => {
  machine = new Machine();
  await machine.startService([], { DEFAULT_SEATS: '1' });
  await machine.signUpAndLogin('ada');
});
afterAll(() => machine.remove());

test('a username of 100,000 letters is named as what it is', async () => {
  for (const command of ['signup', 'login'])
    expect(
      await machine.sls([command, '--username', 'a'.repeat(100_000), '--password-stdin'], { stdin: `${PASSWORD}\n` }),
    ).toMatchObject({ code: 2, stderr: 'sls: expected a username of at most 256 characters, got 100000\n' });
});

test('revoking what no enrolled node has is told apart from revoking what one has', async () => {
  const revoke = (node: string) => machine.sls(['admin', 'nodes', 'revoke', node, '--reason', 'test', '--json']);
  const absent = await revoke('no-such-node');
  expect(JSON.parse(absent.stdout)).toMatchObject({ changed: true, known: false });
  expect(absent).toMatchObject({ code: 0, stderr: expect.stringContaining('no enrolled node has this node') });
  const [{ name }] = JSON.parse((await machine.sls(['admin', 'nodes', 'list', '--json'])).stdout) as [{ name: string }];
  const present = await revoke(name);
  expect(JSON.parse(present.stdout)).toMatchObject({ changed: true, known: true });
  expect(present.stderr).not.toContain('no enrolled node');
  expect((await machine.sls(['admin', 'nodes', 'restore', name, '--reason', 'test'])).code).toBe(0);
});

test('--until DATE is through the end of that day, in UTC', async () => {
  const issue = ['admin', 'licence', 'issue', '--plan', 'team', '--reason', 'test', '--json', '--until'];
  expect(JSON.parse((await machine.sls([...issue, '2027-01-01'])).stdout)).toMatchObject({
    until: '2027-01-01T23:59:59.000Z',
  });
  expect(await machine.sls([...issue, '2027-01-01T12:00'])).toMatchObject({
    code: 2,
    stderr: expect.stringContaining('a time with its zone') as string,
  });
});

test('a trust bundle of a later release says so', async () => {
  const [header = ''] = readFileSync(machine.server('trust-bundle.jws'), 'utf8').split('.');
  const payload = Buffer.from(JSON.stringify({ ...machine.trustBundle(), version: 2 })).toString('base64url');
  // That it is of a later release is said before its signature is looked at: what is signed there may be another thing.
  writeFileSync(machine.path('later.jws'), `${header}.${payload}.${'A'.repeat(86)}`);
  expect(await machine.sls(['trust', 'show', '--trust', 'later.jws'])).toMatchObject({
    code: 5,
    stderr: expect.stringMatching(/got version 2: it needs a newer release\nhint: .* install a newer one\n$/) as string,
  });
});

test('a wrong code while a second factor is set up offers no recovery codes: there are none yet', async () => {
  const { code, stderr } = await machine.sls(['totp', 'enable', '--password-stdin'], {
    stdin: `${PASSWORD}\n000000\n`,
  });
  expect(code).toBe(4);
  expect(stderr).toMatch(/\nsls: the code is wrong: you have no second factor yet\nhint: .*clock.*sls totp enable\n$/);
  expect(stderr).not.toContain('recovery');
});

test('--wait waits for a seat, and fails when none came free in time', async () => {
  const holder = spawn(process.execPath, [built('sls'), 'exec', '-q', '--', 'sh', '-c', 'echo on; cat'], {
    cwd: machine.folder,
    env: machine.env,
  });
  await once(holder.stdout, 'data');
  expect(await machine.sls(['exec', 'true'])).toMatchObject({ code: 6, stderr: expect.stringContaining('--wait') });
  expect(await machine.sls(['exec', '--wait', '1', 'true'])).toMatchObject({
    code: 6,
    stderr: expect.stringContaining('all seats are taken: waiting for one') as string,
  });
  const waiting = spawn(process.execPath, [built('sls'), 'exec', '--wait', '600', 'echo', 'got one'], {
    cwd: machine.folder,
    env: machine.env,
  });
  let [stdout, stderr] = ['', ''];
  waiting.stdout.setEncoding('utf8').on('data', (text: string) => (stdout += text));
  await new Promise<void>((told) =>
    waiting.stderr.setEncoding('utf8').on('data', (text: string) => {
      stderr += text;
      if (stderr.includes('waiting for one')) told();
    }),
  );
  holder.stdin.end();
  const [code] = (await once(waiting, 'close')) as [number];
  expect({ code, stdout }).toEqual({ code: 0, stdout: 'got one\n' });
  expect(stderr.match(/waiting for one/g)).toHaveLength(1);
});
