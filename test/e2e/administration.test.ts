import { readFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { decodeProtectedHeader } from 'jose';
import { enclaves, eventually, kubectl, SERVICES } from './support/cluster';
import { Person } from './support/person';

const [ada, grace] = [new Person(), new Person()];
afterAll(async () => {
  for (const person of [ada, grace]) await person.leave();
});

/** `sls admin …` by an administrator whose certificate the cluster's admin CA made. */
async function administrator(): Promise<(...args: string[]) => Promise<string>> {
  const folder = ada.machine.path('administrator');
  await ada.do(['admin', 'certificate', '--namespace', SERVICES, '--name', 'e2e', '--out', folder], {
    env: { KUBECONFIG: process.env['KUBECONFIG'] ?? '' },
  });
  const url = await kubectl(['get', 'ksvc', 'admin', '-n', SERVICES, '-o', 'jsonpath={.status.url}']);
  const key = [
    '--address',
    url.trim(),
    '--admin-certificate',
    `${folder}/certificate.pem`,
    '--admin-key',
    `${folder}/key.pem`,
  ];
  return async (...args) => (await ada.do(['admin', ...args, ...key])).stdout;
}

test('an administrator sees the nodes that enrolled, ends a user for good, and finds it in the record', async () => {
  await ada.signup();
  await ada.login();
  await grace.signup();
  await grace.login();
  const { user, enclave } = await grace.status();
  const admin = await administrator();

  expect(await admin('nodes', 'list', '--json')).toContain(enclave.node);

  await admin('user', 'revoke', user, '--reason', 'a test');
  await eventually("the revoked user's enclave is gone", async () => (await enclaves(user)).length === 0, 60);
  const refused = await grace.sls(['exec', '--', 'true']);
  expect([4, 5]).toContain(refused.code);
  expect((await ada.do(['exec', '--', 'echo', 'still here'])).stdout).toBe('still here\n');

  const record = await admin('audit', 'tail', '--json');
  expect(record).toContain('admin.revoke');
  expect(record).toContain(user);
  expect(JSON.parse(await admin('audit', 'verify', '--json'))).toMatchObject({
    head: { size: expect.any(Number) as number },
  });
});

test('without a certificate of the admin CA every call is refused', async () => {
  const url = await kubectl(['get', 'ksvc', 'admin', '-n', SERVICES, '-o', 'jsonpath={.status.url}']);
  const foreign = ada.machine.path('foreign');
  await ada.do(['admin', 'init', '--dir', foreign, '--out', foreign]);
  const key = ['--admin-certificate', `${foreign}/certificate.pem`, '--admin-key', `${foreign}/key.pem`];
  const refused = await ada.sls(['admin', 'nodes', 'list', '--address', url.trim(), ...key]);
  expect(refused.code).toBe(4);
});

test('token key, client CA and attestation CA are replaced with kubectl alone, and no login fails meanwhile', async () => {
  const env = { KUBECONFIG: process.env['KUBECONFIG'] ?? '' };
  const signers: Record<string, string> = {};
  for (const what of ['token-key', 'client-ca', 'attestation-ca']) {
    const { stdout } = await ada.do(['admin', 'rotate', what, '--namespace', SERVICES, '--json'], { env });
    signers[what] = (JSON.parse(stdout) as { signsFrom: string }).signsFrom;
  }
  const before = await keyOfToken();
  const last = Math.max(...Object.values(signers).map((time) => Date.parse(time)));
  let logins = 0;
  while (Date.now() < last + 20_000) {
    await ada.login();
    expect((await ada.do(['exec', '--', 'echo', 'ok'])).stdout).toBe('ok\n');
    logins += 1;
    await sleep(5_000);
  }
  expect(logins).toBeGreaterThan(5);
  expect(await keyOfToken()).not.toBe(before);
}, 420_000);

/** Which key signs access tokens now. */
async function keyOfToken(): Promise<string> {
  await ada.login();
  const { session } = JSON.parse(await readFile(ada.machine.path('state', 'sls', 'session.json'), 'utf8')) as {
    session: { accessToken: string };
  };
  return decodeProtectedHeader(session.accessToken).kid ?? '';
}
