import { writeFileSync } from 'node:fs';
import { createAuthority } from '../../licensing/authority/authority';
import { eventually } from '../support/eventually';
import { Machine, PASSWORD } from '../support/machine';
import type { Ended } from '../support/machine';
import { issueAdminCertificate } from '../../licensing/authority/admin';

let machine: Machine;
beforeAll(async () => {
  machine = new Machine();
  await machine.startService();
  await machine.signUpAndLogin();
});
afterAll(() => machine.remove());

const REASON = ['--reason', 'for a test'];
const admin = async (...args: string[]): Promise<Ended> => {
  const ended = await machine.sls(['admin', ...args]);
  expect({ args, code: ended.code, stderr: ended.code === 0 ? '' : ended.stderr }).toEqual({
    args,
    code: 0,
    stderr: '',
  });
  return ended;
};
const logIn = (): Promise<Ended> =>
  machine.sls(['login', '--username', 'ada', '--password-stdin'], { stdin: `${PASSWORD}\n` });
const exec = (): Promise<Ended> => machine.sls(['exec', '-q', '--', 'echo', 'hello']);

/** Tries until it is refused. @returns how it was refused */
async function untilRefused(attempt: () => Promise<Ended>): Promise<Ended> {
  return eventually(async () => {
    const ended = await attempt();
    return ended.code !== 0 && ended;
  });
}

/** Tries until it is let in: a list of the last seconds still says otherwise. */
async function untilAllowed(attempt: () => Promise<Ended>): Promise<Ended> {
  return eventually(async () => {
    const ended = await attempt();
    return ended.code === 0 && ended;
  });
}

async function auditKinds(): Promise<string[]> {
  const { stdout } = await admin('audit', 'tail', '--json');
  return stdout
    .trim()
    .split('\n')
    .map((line) => (JSON.parse(line) as { kind: string }).kind);
}

test('a revoked user: sessions end at once, no login, no access; and back', async () => {
  let started = (): void => undefined;
  const running = new Promise<void>((resolve) => (started = resolve));
  const open = machine.sls(['exec', '--', 'sh', '-c', 'echo started; sleep 600'], { onOutput: () => started() });
  await running;
  const { stdout } = await admin('user', 'revoke', 'ada', ...REASON, '--json');
  expect(JSON.parse(stdout)).toMatchObject({ kind: 'user', changed: true });
  const ended = await open;
  expect(ended.code).not.toBe(0);

  expect(await logIn()).toMatchObject({
    code: 4,
    stderr: expect.stringContaining('your account is revoked') as string,
  });
  // The saved session, whose token and certificate are still good by themselves.
  expect(await exec()).toMatchObject({
    code: 4,
    stdout: '',
    stderr: expect.stringContaining('your account is revoked') as string,
  });
  expect(machine.processes().filter(({ command }) => command.includes('enclave.cjs'))).toEqual([]);

  await admin('user', 'restore', 'ada', ...REASON);
  expect((await untilAllowed(logIn)).code).toBe(0);
  expect(await exec()).toMatchObject({ code: 0, stdout: 'hello\n' });
});

describe.each(['node', 'attestation key'])('a revoked %s', (what) => {
  test('is refused by login and by clients; and back', async () => {
    expect((await exec()).code).toBe(0);
    const [node] = JSON.parse((await admin('nodes', 'list', '--json')).stdout) as Array<{
      name: string;
      ekSha256: string;
      akSha256: string;
    }>;
    const [group, subject, code] = what === 'node' ? ['nodes', node!.name, 'node'] : ['ak', node!.akSha256, 'ak'];
    await admin(group!, 'revoke', subject!, ...REASON);

    // A session from before is refused by the client itself, for the reason.
    const refused = await untilRefused(exec);
    expect(refused).toMatchObject({ code: 5, stdout: '' });
    expect(refused.stderr).toContain(`revocation.${code}`);
    const login = await logIn();
    expect(login.code).toBe(5);
    expect(login.stderr).toContain(`revocation.${code}`);
    expect(JSON.parse((await admin('nodes', 'list', '--json')).stdout)).toMatchObject([{ revoked: true }]);

    await admin(group!, 'restore', subject!, ...REASON);
    expect((await untilAllowed(logIn)).code).toBe(0);
    expect((await exec()).stdout).toBe('hello\n');
  });
});

test('every decision is on record', async () => {
  const kinds = await auditKinds();
  expect(kinds[0]).toBe('enrol.key_enrolled');
  expect(kinds.filter((kind) => kind === 'admin.revoke')).toHaveLength(3);
  expect(kinds.filter((kind) => kind === 'admin.restore')).toHaveLength(3);
});

test('who has no certificate of the admin CA gets nothing, whatever they call themselves', async () => {
  const { certificate, privateKey } = await issueAdminCertificate(
    await createAuthority({ commonName: 'Administration CA', trustDomain: 'sls.local', years: 1 }),
    {
      name: 'local',
      trustDomain: 'sls.local',
    },
  );
  writeFileSync(machine.path('mallory.pem'), certificate);
  writeFileSync(machine.path('mallory.key'), privateKey);
  const forged = ['--admin-certificate', 'mallory.pem', '--admin-key', 'mallory.key'];
  for (const args of [
    ['nodes', 'list'],
    ['user', 'revoke', 'ada', ...REASON],
    ['revocations'],
    ['nodes', 'approve', 'localhost', '--ek', 'ab'.repeat(32), ...REASON],
  ]) {
    expect(await machine.sls(['admin', ...args, ...forged])).toMatchObject({ code: 4, stdout: '' });
  }
  expect((await logIn()).code).toBe(0);
});
