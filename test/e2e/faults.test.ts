import { execFileSync } from 'node:child_process';
import { setTimeout as sleep } from 'node:timers/promises';
import { ATTESTOR, enclavePods, eventually, kubectl, list, SERVICES } from './support/cluster';
import type { Pod } from '../../runtime/kubernetes/objects';
import { PASSWORD } from '../support/machine';
import { onNode } from './support/node';
import { Person } from './support/person';
import { setting } from './support/settings';

const linus = new Person();
beforeAll(async () => {
  await linus.signup();
  await linus.login();
});
afterAll(async () => {
  // What was ended here is whole again for the tests that follow.
  await again(signUpAndLogIn);
  await linus.leave();
});

const podsOf = (namespace: string, selector: string): Promise<Pod[]> => list<Pod>('pods', namespace, '-l', selector);
const deletePods = (namespace: string, selector: string): Promise<string> =>
  kubectl(['delete', 'pod', '-n', namespace, '-l', selector, '--grace-period=0', '--force', '--wait=false']);

/** "a retry or a clear error": what a person may do about it is to say the command again. */
async function again<T>(attempt: () => Promise<T>, seconds = 90): Promise<T> {
  return eventually('works again', attempt, seconds);
}

async function signUpAndLogIn(): Promise<true> {
  const somebody = new Person();
  try {
    await somebody.signup();
    await somebody.login();
    return true;
  } finally {
    await somebody.leave();
  }
}

test('an attestor that is restarted during a login: the login waits for it, or says clearly that it is away', async () => {
  await deletePods(ATTESTOR, 'app.kubernetes.io/component=attestor');
  const ended = await linus.login().catch((error: Error) => error);
  if (ended instanceof Error) expect(ended.message).toMatch(/ended with 6: .*(try again|not available|hint)/s);
  await again(() => linus.login());
  expect((await linus.do(['exec', '--', 'echo', 'ok'])).stdout).toBe('ok\n');
});

test('a restarted attestor keeps its key: the node is not enrolled again under another one', async () => {
  const pods = await podsOf(ATTESTOR, 'app.kubernetes.io/component=attestor');
  const logs = await kubectl(['logs', '-n', ATTESTOR, pods[0]?.metadata.name ?? '', '-c', 'attestor']);
  expect(logs).not.toContain('made an attestation key');
});

test("login's pod is killed in the middle of logins: each user sees a success or a clear error, and the next try works", async () => {
  const logins = [linus.sls(['login', '--username', linus.username, '--password-stdin'], { stdin: `${PASSWORD}\n` })];
  await sleep(300);
  await deletePods(SERVICES, 'serving.knative.dev/service=login');
  for (const ended of await Promise.all(logins)) {
    if (ended.code !== 0)
      expect({ code: ended.code, stderr: ended.stderr }).toMatchObject({
        code: 6,
        stderr: expect.stringContaining('hint') as string,
      });
  }
  await again(() => linus.login());
});

test("signup's pod is killed in the middle of a sign-up: the user sees a success or a clear error, and has one account in the end", async () => {
  const nora = new Person();
  try {
    const signup = nora.sls(['signup', '--username', nora.username, '--password-stdin'], { stdin: `${PASSWORD}\n` });
    await sleep(300);
    await deletePods(SERVICES, 'serving.knative.dev/service=signup');
    const ended = await signup;
    if (ended.code !== 0)
      expect({ code: ended.code, stderr: ended.stderr }).toMatchObject({
        code: 6,
        stderr: expect.stringContaining('hint') as string,
      });
    // Whose answer was lost has the account already.
    await again(async () => {
      const { code, stderr } = await nora.sls(['signup', '--username', nora.username, '--password-stdin'], {
        stdin: `${PASSWORD}\n`,
      });
      return code === 0 || stderr.includes('taken');
    });
    await nora.login();
  } finally {
    await nora.leave();
  }
});

test("the node's TPM is gone: a login says clearly that it can't be attested now, and works when the TPM is back; no account or enclave is lost", async () => {
  const { user } = await linus.status();
  await onNode(setting('SLS_TPM_FOLDER'), 'mv tpm.sock tpm.sock.away');
  try {
    const ended = await linus.sls(['login', '--username', linus.username, '--password-stdin'], {
      stdin: `${PASSWORD}\n`,
    });
    expect(ended).toMatchObject({ code: 6, stderr: expect.stringMatching(/TPM|attest|quote|enclave/i) as string });
    expect(ended.stderr).toContain('hint');
    expect(ended.stderr).not.toMatch(/tpm\.sock|tpm2_|ECONN/);
  } finally {
    await onNode(setting('SLS_TPM_FOLDER'), 'mv tpm.sock.away tpm.sock');
  }
  await again(() => linus.login());
  expect((await linus.status()).user).toBe(user);
  expect((await linus.do(['exec', '--', 'echo', 'ok'])).stdout).toBe('ok\n');
});

test('PostgreSQL is restarted: no account is lost, and logins go on', async () => {
  // In order, not by force: a second server on the first one's folder would lose what either writes.
  await kubectl(['delete', 'pod', '-n', SERVICES, '-l', 'app.kubernetes.io/component=postgres', '--wait=false']);
  const ended = await linus.login().catch((error: Error) => error);
  if (ended instanceof Error) expect(ended.message).toMatch(/ended with 6: /);
  await again(() => linus.login());
  const wrong = await linus.sls(['login', '--username', linus.username, '--password-stdin'], {
    stdin: 'wrong password\n',
  });
  expect(wrong.code).toBe(4);
  await again(signUpAndLogIn);
});

test('a killed enclave: exec says that its process was lost, and the next command has a new enclave, verified anew', async () => {
  const { user, claims } = await linus.status();
  const running = linus.sls(['exec', '--', 'sh', '-c', 'echo begun; sleep 300'], {
    onOutput: (_child, stdout) => {
      if (stdout.includes('begun'))
        void kubectl([
          'delete',
          'pod',
          '-n',
          'licensing-enclaves',
          '-l',
          'app.kubernetes.io/component=enclave',
          '--field-selector',
          `metadata.name=${pod}`,
          '--grace-period=0',
          '--force',
          '--wait=false',
        ]);
    },
  });
  const pod = (await enclavePods(user)).find(({ metadata }) => metadata.uid === claims.workload)?.metadata.name ?? '';
  const lost = await running;
  // The enclave's word where it could still say it, a lost connection where it couldn't.
  expect(lost).toMatchObject({ code: 6, stderr: expect.stringMatching(/stopped|lost|closed|ended|gone/) as string });
  await again(() => linus.do(['exec', '--', 'true']));
  expect((await linus.status()).claims.workload).not.toBe(claims.workload);
});

test('an activator that is restarted ends a session at most: exec says so, the next command verifies afresh and goes on', async () => {
  const held = linus.sls(['exec', '--', 'sh', '-c', 'sleep 8; echo held']);
  await sleep(2_000);
  await kubectl([
    'delete',
    'pod',
    '-n',
    'knative-serving',
    '-l',
    'app=activator',
    '--grace-period=0',
    '--force',
    '--wait=false',
  ]);
  const { code, stdout, stderr } = await held;
  if (code === 0) expect(stdout).toBe('held\n');
  else expect({ code, stderr }).toMatchObject({ code: 6, stderr: expect.stringContaining('hint') as string });
  await kubectl(['rollout', 'status', '-n', 'knative-serving', 'deployment/activator', '--timeout=90s']);
  await again(() => linus.do(['exec', '--', 'true']));
});

const restartIngress = process.env['SLS_INGRESS_RESTART'];
if (!restartIngress) console.error('ingress restart: not tested, SLS_INGRESS_RESTART names no command');
(restartIngress ? test : test.skip)(
  'an ingress that is restarted ends a session at most: exec says that its process was lost, the next command verifies afresh and goes on',
  async () => {
    await linus.do(['exec', '--', 'true']);
    const held = linus.sls(['exec', '--', 'sh', '-c', 'sleep 12; echo held']);
    await sleep(4_000);
    execFileSync('sh', ['-c', restartIngress ?? '']);
    const { code, stdout, stderr } = await held;
    if (code === 0) expect(stdout).toBe('held\n');
    else
      expect({ code, stderr }).toMatchObject({
        code: 6,
        stderr: expect.stringMatching(/lost|closed|ended|gone/) as string,
      });
    await again(() => linus.do(['exec', '--', 'true']));
  },
);
