import { spawn } from 'node:child_process';
import { setTimeout as sleep } from 'node:timers/promises';
import { built } from '../support/built';
import { enclavePods, enclaves, eventually } from './support/cluster';
import { Person } from './support/person';

const grace = new Person();
beforeAll(async () => {
  await grace.signup();
  await grace.login();
});
afterAll(() => grace.leave());

const atZero = (user: string): Promise<boolean> =>
  eventually('back to zero', async () => (await enclavePods(user)).length === 0, 180);

test('an enclave that nobody uses goes to zero; the next command wakes it, verifies the new pod by fresh evidence, and goes on', async () => {
  const before = await grace.status();
  await atZero(before.user);
  expect(await enclaves(before.user)).toHaveLength(1);

  const { stdout } = await grace.do(['exec', '--', 'echo', 'awake']);
  expect(stdout).toBe('awake\n');
  const after = await grace.status();
  expect(after.claims.workload).not.toBe(before.claims.workload);
  expect(after.claims.certificate).not.toBe(before.claims.certificate);
  const pods = await enclavePods(before.user);
  expect(pods.map(({ metadata }) => metadata.uid)).toContain(after.claims.workload);
});

test('login wakes an enclave at zero, tells the stages, and finds the new pod', async () => {
  const before = await grace.status();
  await atZero(before.user);
  await grace.login();
  expect((await grace.status()).claims.workload).not.toBe(before.claims.workload);
});

test('an open session holds the pod and outlives the default timeouts (300 s), even when nothing is said', async () => {
  const { user, claims } = await grace.status();
  const child = spawn(process.execPath, [built('sls'), 'exec', '--', 'sh', '-c', 'sleep 320; echo done'], {
    env: grace.machine.env,
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let stdout = '';
  child.stdout.on('data', (text: Buffer) => (stdout += text.toString()));
  const ended = new Promise<number | null>((resolve) => child.on('close', resolve));
  await sleep(310_000);
  const pods = (await enclavePods(user)).filter(({ metadata }) => metadata.deletionTimestamp === undefined);
  expect(pods.map(({ metadata }) => metadata.uid)).toEqual([claims.workload]);
  expect(await ended).toBe(0);
  expect(stdout).toBe('done\n');
}, 400_000);
