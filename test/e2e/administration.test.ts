import { enclaves, eventually, kubectl, SERVICES } from './support/cluster';
import { Person } from './support/person';

const [ada, grace] = [new Person(), new Person()];
afterAll(async () => {
  for (const person of [ada, grace]) await person.leave();
});

/** `sls admin …` by an administrator whose certificate the cluster's admin CA made. */
async function administrator(): Promise<(...args: string[]) => Promise<string>> {
  const folder = ada.machine.path('administrator');
  await ada.do(['admin', 'certificate', '--namespace', SERVICES, '--name', 'e2e', '--out', folder], { env: { KUBECONFIG: process.env['KUBECONFIG'] ?? '' } });
  const url = await kubectl(['get', 'ksvc', 'admin', '-n', SERVICES, '-o', 'jsonpath={.status.url}']);
  const key = ['--address', url.trim(), '--admin-certificate', `${folder}/certificate.pem`, '--admin-key', `${folder}/key.pem`];
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
});

test('without a certificate of the admin CA every call is refused', async () => {
  const url = await kubectl(['get', 'ksvc', 'admin', '-n', SERVICES, '-o', 'jsonpath={.status.url}']);
  const foreign = ada.machine.path('foreign');
  await ada.do(['admin', 'init', '--dir', foreign, '--out', foreign]);
  const key = ['--admin-certificate', `${foreign}/certificate.pem`, '--admin-key', `${foreign}/key.pem`];
  const refused = await ada.sls(['admin', 'nodes', 'list', '--address', url.trim(), ...key]);
  expect(refused.code).toBe(4);
});
