import { createHash, randomBytes } from 'node:crypto';
import { readFileSync, statSync, writeFileSync } from 'node:fs';
import { enclavePods, enclaves, ENCLAVES, eventually } from './support/cluster';
import { Person } from './support/person';
import { digestOf } from './support/settings';

const ada = new Person();
afterAll(() => ada.leave());

test('sign up, log in: the enclave starts, proves itself, and the stages of its start are told', async () => {
  await ada.signup();
  const { stderr } = await ada.login();
  expect(stderr).toMatch(/schedul|pull|start/i);
  expect(stderr).toContain('verified');
});

test('evidence carries the pod UID, the node, the image digest and the user, as the API server has them', async () => {
  const { claims, enclave, user } = await ada.status();
  const pods = await enclavePods(user);
  expect(pods).toHaveLength(1);
  expect(claims).toMatchObject({
    user,
    workload: pods[0]?.metadata.uid,
    node: pods[0]?.spec?.nodeName,
    image: digestOf('enclave'),
  });
  expect(enclave).toMatchObject({ workload: claims.workload, node: claims.node });
});

test('real work: a command on a file, its output and status; files both ways with their mode', async () => {
  const content = randomBytes(3_000_000);
  const sum = createHash('sha256').update(content).digest('hex');
  const { stdout } = await ada.do(['exec', '--', 'sha256sum', '-'], { stdin: content });
  expect(stdout).toContain(sum);
  expect((await ada.sls(['exec', '--', 'sh', '-c', 'exit 7'])).code).toBe(7);

  const file = ada.machine.path('there.bin');
  writeFileSync(file, content, { mode: 0o640 });
  await ada.do(['cp', file, 'enclave:there.bin']);
  await ada.do(['cp', 'enclave:there.bin', ada.machine.path('back.bin')]);
  expect(readFileSync(ada.machine.path('back.bin')).equals(content)).toBe(true);
  expect(statSync(ada.machine.path('back.bin')).mode & 0o777).toBe(0o640);
});

test('inside an enclave pod there is no TPM, no service account token for the API server, and no right to write outside', async () => {
  const { stdout } = await ada.do([
    'exec',
    '--',
    'sh',
    '-c',
    'ls /dev | grep -c tpm; ls /var/run/secrets/kubernetes.io 2>&1 | head -1; touch /usr/x 2>&1; id -u',
  ]);
  const [tpms, secrets, touch, uid] = stdout.trim().split('\n');
  expect(tpms).toBe('0');
  expect(secrets).toMatch(/No such file/);
  expect(touch).toMatch(/Read-only/);
  expect(uid).toBe('1000');
});

test('the login is a record of the audit log, which the user checks alone', async () => {
  const { claims } = await ada.status();
  await eventually(
    'the login is in the log',
    async () => {
      const { logins } = JSON.parse((await ada.do(['audit', 'check', '--json'])).stdout) as {
        logins: Array<{ state: string; workload: string; node: string }>;
      };
      return logins.some(
        ({ state, workload, node }) => state === 'logged' && workload === claims.workload && node === claims.node,
      );
    },
    90,
  );
});

test("an enclave's name tells nothing and cannot be guessed; nothing of it names the user", async () => {
  const { user } = await ada.status();
  const [service] = await enclaves(user);
  expect(service?.metadata.name).toMatch(/^enclave-[a-z2-7]{20}$/);
  expect(service?.metadata.name).not.toContain(user.slice(0, 8));
  expect(service?.metadata.namespace).toBe(ENCLAVES);
});

test('a client may demand image digests: another one is refused by policy, with exit code 5', async () => {
  const refused = await ada.login('--image-digest', `sha256:${'0'.repeat(64)}`).catch((error: Error) => error);
  expect(String(refused)).toMatch(/ended with 5/);
  await ada.login('--image-digest', digestOf('enclave'));
});

test('a client refuses a software TPM unless its trust bundle or a flag says otherwise', async () => {
  const refused = await ada.login('--software-tpm', 'refuse').catch((error: Error) => error);
  expect(String(refused)).toMatch(/ended with 5/);
});

test('saved evidence is verified later, offline', async () => {
  await ada.login('--evidence', ada.machine.path('proof.json'));
  const { stdout } = await ada.do(['verify', ada.machine.path('proof.json')]);
  expect(stdout).toContain(digestOf('enclave'));
});
