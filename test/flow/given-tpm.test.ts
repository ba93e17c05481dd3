import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { Machine, PASSWORD } from '../support/machine';
import { startNodeTpm } from '../support/node-tpm';
import type { NodeTpm } from '../support/node-tpm';

// A TPM that is there already, and that somebody may have set up for themselves, given to `sls up` as that of a real machine is.
let machine: Machine;
let tpm: NodeTpm;
let given: string[];
let files: string;
beforeEach(async () => {
  machine = new Machine();
  tpm = await startNodeTpm();
  files = mkdtempSync(join(tmpdir(), 'sls-given-'));
  const roots = join(files, 'ek-roots');
  mkdirSync(roots);
  tpm.caCertificates.forEach((pem, at) => writeFileSync(join(roots, `${at}.pem`), pem));
  given = ['--tpm', tpm.tcti, '--ek-roots', roots];
});
afterEach(async () => {
  await machine.remove();
  await tpm.stop();
  rmSync(files, { recursive: true, force: true });
});

const file = (name: string, text: string): string => {
  writeFileSync(join(files, name), text, { mode: 0o600 });
  return join(files, name);
};

/** What `sls up` ends with. */
async function refusal(args = given, env: Record<string, string> = {}): Promise<string> {
  const error = await machine.startService(args, env).then(
    () => undefined,
    (reason: Error) => reason,
  );
  return error?.message ?? 'it serves';
}

test('the first trust bundle wants a hardware TPM where one was given; whoever gives a software one has to say so', async () => {
  await machine.startService(given);
  expect(machine.trustBundle().policy).toEqual({ softwareTpm: 'refuse' });
  // Nor does a TPM of any other maker count, of those whose roots ship with the project.
  expect(readFileSync(`/proc/${machine.pidOf('enrol.cjs')}/environ`, 'utf8')).toContain('EK_ROOTS_SHIPPED=off');
  await machine.sls(['signup', '--username', 'ada', '--password-stdin'], { stdin: `${PASSWORD}\n` });
  const login = ['login', '--username', 'ada', '--password-stdin'];
  const refused = await machine.sls(login, { stdin: `${PASSWORD}\n` });
  expect(refused).toMatchObject({ code: 5, stderr: expect.stringContaining('policy.software_tpm') });
  // By login as well: a client's own policy changes nothing for it.
  const insisting = await machine.sls([...login, '--software-tpm', 'allow'], { stdin: `${PASSWORD}\n` });
  expect(insisting).toMatchObject({ code: 5, stderr: expect.stringContaining('policy.software_tpm') });
  await machine.stopService();

  const { sequence } = machine.trustBundle();
  await machine.startService([...given, '--software-tpm', 'allow']);
  expect(machine.trustBundle()).toMatchObject({ policy: { softwareTpm: 'allow' }, sequence: sequence + 1 });
  expect(await machine.sls(login, { stdin: `${PASSWORD}\n` })).toMatchObject({ code: 0 });
  await machine.stopService();

  // It was said once and for all.
  await machine.startService(given);
  expect(machine.trustBundle()).toMatchObject({ policy: { softwareTpm: 'allow' }, sequence: sequence + 1 });
});

test('a TPM whose owner set a password: sls up says which setting helps, and serves with it', async () => {
  await tpm.tool('tpm2_changeauth', '-Q', '-c', 'o', 'a password');
  expect(await refusal()).toContain("the TPM's owner hierarchy has a password: set TPM_OWNER_AUTH_FILE");
  const wrong = { TPM_OWNER_AUTH_FILE: file('wrong', 'another one') };
  expect(await refusal(given, wrong)).toContain('has another password than the file of TPM_OWNER_AUTH_FILE holds');
  // Relative paths are those of the folder in which it was started, whichever program reads them.
  const here = (path: string): string => relative(machine.folder, path);
  const [, , ...rest] = given;
  const args = [
    '--tpm',
    tpm.tcti.replace(/(?<=path=).*/, here),
    ...rest.map((arg) => (arg.startsWith('/') ? here(arg) : arg)),
  ];
  expect(args.join(' ')).not.toMatch(/[ =]\//);
  expect(await refusal(args, { TPM_OWNER_AUTH_FILE: here(file('right', 'a password')) })).toBe('it serves');
});

test('a TPM of another maker than those given is refused', async () => {
  const none = join(files, 'none');
  mkdirSync(none);
  expect(await refusal(['--tpm', tpm.tcti, '--ek-roots', none])).toContain("endorsement key's certificate:");
});

test('a TPM without a certificate: sls up says which hash to list, and serves when it is listed', async () => {
  const indexes = (await tpm.tool('tpm2_getcap', 'handles-nv-index')).match(/0x1c0[0-9a-f]+/gi) ?? [];
  for (const index of indexes) await tpm.tool('tpm2_nvundefine', '-Q', '-C', 'p', index);
  const said = await refusal();
  expect(said).toContain('enrolment refused this TPM: expected a certificate of the endorsement key, got none:');
  const [, hash] = /set EK_HASHES_FILE of enrol to a file that lists ([0-9a-f]{64})/.exec(said) ?? [];
  const list = file('hashes', `${hash} software\n`);
  expect(await refusal(given, { EK_HASHES_FILE: list })).toBe('it serves');
});
