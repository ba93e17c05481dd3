import { enclavePods, enclaves, eventually } from './support/cluster';
import { Person } from './support/person';

const ada = new Person();
afterAll(() => ada.leave());

interface Listed {
  name: string;
  state: string;
}
const list = async (): Promise<Listed[]> =>
  (JSON.parse((await ada.do(['enclaves', 'list', '--json'])).stdout) as { enclaves: Listed[] }).enclaves;

test('a user has two enclaves by name, stops one, deletes it, and deletes their account with all that is theirs', async () => {
  await ada.signup();
  await ada.login();
  await ada.login('--enclave', 'gpu-lab');
  const { user, claims } = await ada.status();
  const lab = JSON.parse((await ada.do(['status', '--enclave', 'gpu-lab', '--json'])).stdout) as {
    claims: { enclave: string; workload: string };
  };
  expect(lab.claims.enclave).toBe('gpu-lab');
  expect(lab.claims.workload).not.toBe(claims.workload);
  expect((await ada.do(['exec', '--enclave', 'gpu-lab', '--', 'echo', 'ok'])).stdout).toBe('ok\n');
  const services = await enclaves(user);
  expect(services).toHaveLength(2);
  for (const { metadata } of services) expect(metadata.name).toMatch(/^enclave-[a-z2-7]{20}$/);
  expect((await list()).map(({ name, state }) => [name, state])).toEqual([
    ['default', 'running'],
    ['gpu-lab', 'running'],
  ]);

  await ada.do(['enclaves', 'stop', 'gpu-lab']);
  await eventually('the pod of the stopped one is gone', async () => (await enclavePods(user)).length === 1, 90);
  expect((await ada.do(['exec', '--enclave', 'gpu-lab', '--', 'echo', 'again'])).stdout).toBe('again\n');

  await ada.do(['enclaves', 'delete', 'gpu-lab', '--yes']);
  await eventually('the deleted one is gone', async () => (await enclaves(user)).length === 1, 30);
  expect((await list()).map(({ name }) => name)).toEqual(['default']);
  expect((await ada.do(['exec', '--', 'echo', 'ok'])).stdout).toBe('ok\n');

  await ada.do(['account', 'delete', '--yes', '--password-stdin'], { stdin: `${ada.password}\n` });
  await eventually(
    'nothing of the user is left',
    async () => (await enclaves(user)).length === 0 && (await enclavePods(user)).length === 0,
    120,
  );
  expect(
    (await ada.sls(['login', '--username', ada.username, '--password-stdin'], { stdin: `${ada.password}\n` })).code,
  ).toBe(4);
});
