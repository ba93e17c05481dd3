import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { kubectl } from './support/cluster';
import { installer } from './support/install';

const NAMESPACE = ['-n', 'licensing'];
const seats = { name: 'DEFAULT_SEATS', value: '17' };

interface Variable {
  name: string;
  value?: string;
}

async function environmentOfLogin(): Promise<Variable[]> {
  const text = await kubectl(['get', 'ksvc', 'login', ...NAMESPACE, '-o', 'json']);
  const { spec } = JSON.parse(text) as {
    spec: { template: { spec: { containers: Array<{ env: Variable[] }> } } };
  };
  return spec.template.spec.containers[0]!.env;
}
const trustDomain = () =>
  kubectl(['get', 'configmap', 'licensing', ...NAMESPACE, '-o', 'jsonpath={.data.trustDomain}']);

test('run again without a flag, the installer would change nothing', () => {
  expect(installer('--plan')).toMatchObject({ status: 0, stdout: 'no change\n' });
});

test('a plan names the objects and fields that a flag would change, and changes none', async () => {
  const before = await environmentOfLogin();
  const { status, stdout } = installer('--set', 'login.DEFAULT_SEATS=17', '--set', 'reaper.UNUSED_DAYS=90', '--plan');
  expect({ status, stdout }).toEqual({
    status: 0,
    stdout: expect.stringContaining('change Service licensing/login\n') as string,
  });
  expect(stdout).toMatch(/env\[DEFAULT_SEATS\]: none -> .*17/);
  expect(stdout).toMatch(/change CronJob licensing\/reaper\n.*env\[UNUSED_DAYS\]\.value: "30" -> "90"/);
  expect(stdout).toContain('change ConfigMap licensing/installation\n');
  expect(await environmentOfLogin()).toEqual(before);
});

test('another trust domain or database is refused, and nothing is touched', async () => {
  const before = await trustDomain();
  const url = join(mkdtempSync(join(tmpdir(), 'sls-e2e-')), 'url');
  writeFileSync(url, 'postgres://other:hidden@db.example/x\n');
  for (const [flags, danger] of [
    [['--trust-domain', 'other.example'], 'trust-domain'],
    [['--database-url-file', url], 'database'],
    [['--overlay', 'external-postgres', '--no-tpm-folder'], 'database'],
  ] as const) {
    const refused = installer(...flags);
    expect(refused).toMatchObject({ status: 2, stderr: expect.stringContaining(`--accept ${danger}`) as string });
    expect(refused.stderr).not.toContain('hidden');
    expect(installer('--plan', ...flags)).toMatchObject({
      status: 1,
      stdout: expect.stringContaining('refuse: ') as string,
    });
  }
  expect(await trustDomain()).toBe(before);
});

test('what somebody patched in an installation of before there was a file stays, and so does it once there is one', async () => {
  await kubectl(['delete', 'configmap', 'installation', ...NAMESPACE]);
  const operation = { op: 'add', path: '/spec/template/spec/containers/0/env/-', value: seats };
  await kubectl(['patch', 'ksvc', 'login', ...NAMESPACE, '--type', 'json', '-p', JSON.stringify([operation])]);
  expect(installer('--plan')).toMatchObject({ status: 0, stdout: 'create ConfigMap licensing/installation\n' });
  expect(installer()).toMatchObject({ status: 0 });
  expect(await environmentOfLogin()).toContainEqual(seats);
  expect(installer('--show').stdout).toMatch(/^ {4}DEFAULT_SEATS: '17' #/m);
  expect(installer('--unset', 'login.DEFAULT_SEATS')).toMatchObject({ status: 0 });
  expect((await environmentOfLogin()).map(({ name }) => name)).not.toContain('DEFAULT_SEATS');
  expect(installer('--plan')).toMatchObject({ status: 0, stdout: 'no change\n' });
});
