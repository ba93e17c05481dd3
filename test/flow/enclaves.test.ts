import { existsSync, readdirSync } from 'node:fs';
import { eventually } from '../support/eventually';
import { Machine, PASSWORD } from '../support/machine';
import type { Ended } from '../support/machine';

let machine: Machine;
beforeAll(async () => {
  machine = new Machine();
  await machine.startService();
  await machine.signUpAndLogin('ada');
});
afterAll(() => machine.remove());

const withPassword = (args: string[]): Promise<Ended> =>
  machine.sls([...args, '--password-stdin'], { stdin: `${PASSWORD}\n` });
const stdoutOf = async (...args: string[]): Promise<string> => {
  const ended = await machine.sls(args);
  if (ended.code !== 0) throw new Error(`sls ${args.join(' ')} ended with ${ended.code}: ${ended.stderr}`);
  return ended.stdout;
};
interface Status {
  enclave: { name: string; workload: string };
  claims: { enclave: string; workload: string };
}
const statusOf = async (...args: string[]): Promise<Status> =>
  JSON.parse(await stdoutOf('status', '--json', ...args)) as Status;
const list = async (): Promise<Array<{ name: string; state: string }>> =>
  (JSON.parse(await stdoutOf('enclaves', 'list', '--json')) as { enclaves: Array<{ name: string; state: string }> })
    .enclaves;

test('two enclaves of one user side by side: each has its own files, name and evidence', async () => {
  expect(await withPassword(['login', '--username', 'ada', '--enclave', 'gpu-lab'])).toMatchObject({ code: 0 });
  await stdoutOf('exec', '--enclave', 'gpu-lab', '--', 'sh', '-c', 'echo lab > here');
  await stdoutOf('exec', '--', 'sh', '-c', 'echo default > here');
  expect(await stdoutOf('exec', '--enclave', 'gpu-lab', '--', 'cat', 'here')).toBe('lab\n');
  expect(await stdoutOf('exec', '--', 'cat', 'here')).toBe('default\n');
  expect(await stdoutOf('cp', '--enclave', 'gpu-lab', 'enclave:here', '-')).toBe('lab\n');
  expect((await machine.sls(['exec', '--', 'cat', 'here'], { env: { SLS_ENCLAVE: 'gpu-lab' } })).stdout).toBe('lab\n');

  const [lab, usual] = [await statusOf('--enclave', 'gpu-lab'), await statusOf()];
  expect(lab.claims.enclave).toBe('gpu-lab');
  expect(usual.claims.enclave).toBe('default');
  expect(lab.claims.workload).not.toBe(usual.claims.workload);
  expect((await list()).map(({ name, state }) => [name, state])).toEqual([
    ['default', 'running'],
    ['gpu-lab', 'running'],
  ]);
});

test('one that was stopped starts again at the next command; one that nobody logged in to is asked for by name', async () => {
  const before = await statusOf('--enclave', 'gpu-lab');
  expect(JSON.parse(await stdoutOf('enclaves', 'stop', 'gpu-lab', '--json'))).toMatchObject({
    name: 'gpu-lab',
    wasRunning: true,
  });
  expect(await list()).toContainEqual(expect.objectContaining({ name: 'gpu-lab', state: 'at zero' }));
  expect(await stdoutOf('exec', '--enclave', 'gpu-lab', '--', 'echo', 'again')).toBe('again\n');
  expect((await statusOf('--enclave', 'gpu-lab')).claims.workload).not.toBe(before.claims.workload);

  expect(await machine.sls(['exec', '--enclave', 'other', '--', 'true'])).toMatchObject({
    code: 4,
    stderr: expect.stringContaining('sls login --enclave other') as string,
  });
  for (const name of ['../x', 'A', 'a_b', '-a', ''])
    expect(await machine.sls(['status', '--enclave', name])).toMatchObject({ code: 2 });
});

test('deleting one takes its files and its login; without a terminal it has to be meant', async () => {
  expect(await machine.sls(['enclaves', 'delete', 'gpu-lab'])).toMatchObject({
    code: 2,
    stderr: expect.stringContaining('--yes') as string,
  });
  await stdoutOf('enclaves', 'delete', 'gpu-lab', '--yes');
  expect((await list()).map(({ name }) => name)).toEqual(['default']);
  expect(existsSync(machine.path('state', 'sls', 'session-gpu-lab.json'))).toBe(false);
  expect(await machine.sls(['enclaves', 'delete', 'gpu-lab', '--yes'])).toMatchObject({
    code: 1,
    stderr: expect.stringContaining('gpu-lab') as string,
  });
  expect(await withPassword(['login', '--username', 'ada', '--enclave', 'gpu-lab'])).toMatchObject({ code: 0 });
  expect(await machine.sls(['exec', '--enclave', 'gpu-lab', '--', 'cat', 'here'])).toMatchObject({ code: 1 });
});

test('logout with --enclave ends that login alone; without, all of this machine', async () => {
  await stdoutOf('logout', '--enclave', 'gpu-lab');
  expect(await machine.sls(['exec', '--enclave', 'gpu-lab', '--', 'true'])).toMatchObject({ code: 4 });
  expect(await stdoutOf('exec', '--', 'echo', 'ok')).toBe('ok\n');
  await withPassword(['login', '--username', 'ada', '--enclave', 'gpu-lab']);
  await stdoutOf('logout');
  expect(readdirSync(machine.path('state', 'sls')).filter((name) => name.startsWith('session'))).toEqual([]);
});

test('a user deletes their account: it takes the password, and then nothing of it is left', async () => {
  await withPassword(['login', '--username', 'ada']);
  const remove = (password: string): Promise<Ended> =>
    machine.sls(['account', 'delete', '--yes', '--password-stdin'], { stdin: `${password}\n` });
  expect(await machine.sls(['account', 'delete', '--password-stdin'], { stdin: `${PASSWORD}\n` })).toMatchObject({
    code: 2,
  });
  expect(await remove('wrong horse battery staple')).toMatchObject({ code: 4 });
  expect(await stdoutOf('exec', '--', 'echo', 'still here')).toBe('still here\n');

  expect(await remove(PASSWORD)).toMatchObject({ code: 0 });
  expect(readdirSync(machine.path('state', 'sls')).filter((name) => /session|token/.test(name))).toEqual([]);
  expect(await withPassword(['login', '--username', 'ada'])).toMatchObject({ code: 4 });
  expect(machine.processes().filter(({ command }) => command.includes('enclave.cjs'))).toEqual([]);
  const record = await stdoutOf('admin', 'audit', 'tail', '--json');
  expect(record).toContain('account.deleted');
  expect(record).not.toContain('ada"');
  // The name is free again, for whoever comes.
  expect(
    await machine.sls(['signup', '--username', 'ada', '--password-stdin'], { stdin: `${PASSWORD}\n` }),
  ).toMatchObject({ code: 0 });
});

test('an administrator deletes a user by name, once', async () => {
  await withPassword(['login', '--username', 'ada']);
  const remove = (): Promise<Ended> => machine.sls(['admin', 'user', 'delete', 'ada', '--reason', 'asked for it']);
  expect(await remove()).toMatchObject({ code: 0 });
  // Lists of the last second may not have them yet.
  const refused = await eventually(async () => {
    const ended = await machine.sls(['exec', '--', 'true']);
    return ended.code !== 0 && ended;
  });
  // Whether the list says so first or the service.
  expect(refused.code).toBe(4);
  expect(await remove()).toMatchObject({ code: 1, stderr: expect.stringContaining('no such user') as string });
});
