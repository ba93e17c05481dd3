import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { login as libraryLogin } from '../../client';
import { FolderKeyStore } from '../../installation/folder';
import { publishTrustBundle } from '../../installation/trust';
import { readSignedBundle } from '../../attestation/trust/signed-bundle';
import { extendingEvents } from '../../attestation/tpm/event-log/replay';
import { parseEventLog } from '../../attestation/tpm/event-log/parse';
import { bootEvents, encodeEventLog } from '../support/event-log';
import type { EventInput } from '../support/event-log';
import { eventually } from '../support/eventually';
import { Machine, PASSWORD } from '../support/machine';

/** Does what firmware does at power-on: writes its log and extends the TPM by each event of it. The TPM's PCRs start from zero with `sls up`. */
async function boot(machine: Machine, events: readonly EventInput[]): Promise<void> {
  await machine.stopService();
  const log = encodeEventLog(events);
  mkdirSync(machine.server(), { recursive: true });
  writeFileSync(machine.server('event-log'), log);
  await machine.startService();
  const env = {
    ...machine.env,
    TPM2TOOLS_TCTI: `swtpm:path=${machine.server('run', 'tpm.sock')}`,
    TSS2_LOG: 'all+none',
  };
  for (const { pcr, sha256 = Buffer.alloc(0) } of extendingEvents(parseEventLog(log))) {
    execFileSync('tpm2_pcrextend', [`${pcr}:sha256=${sha256.toString('hex')}`], { env });
  }
}

const machine = new Machine();
const login = (...args: string[]): ReturnType<Machine['sls']> =>
  machine.sls(['login', '--username', 'ada', '--password-stdin', ...args], { stdin: `${PASSWORD}\n` });

/** A copy of the installation's trust bundle as it is now. */
const keepBundle = (name: string): void =>
  writeFileSync(machine.path(name), readFileSync(machine.server('trust-bundle.jws')));

/** Where nobody has seen a newer bundle than this one. */
const verifyBy = (bundle: string, evidence: string, ...args: string[]): ReturnType<Machine['sls']> =>
  machine.sls(['verify', evidence, ...args], {
    env: { ...machine.elsewhere(`seen-${bundle}`), SLS_TRUST: machine.path(bundle) },
  });

async function untilServiceDemandsNothing(): Promise<void> {
  await eventually(async () => (await login()).code === 0);
}

beforeAll(async () => {
  await boot(machine, bootEvents());
  await machine.sls(['signup', '--username', 'ada', '--password-stdin'], { stdin: `${PASSWORD}\n` });
});
afterAll(() => machine.remove());

test('a golden boot is recorded from evidence; a machine that boots otherwise is refused at login, and explained', async () => {
  const first = await login('--event-log', '--evidence', 'golden.json');
  expect({ code: first.code, stderr: first.stderr }).toEqual({
    code: 0,
    stderr: expect.not.stringContaining('event log'),
  });
  keepBundle('any-boot.jws');

  const shown = await machine.sls([
    'admin',
    'boot',
    'record',
    '--evidence',
    'golden.json',
    '--name',
    'approved',
    '--trust',
    'any-boot.jws',
  ]);
  expect(JSON.parse(shown.stdout)).toMatchObject({
    name: 'approved',
    pcrs: { 7: expect.stringMatching(/^[0-9a-f]{64}$/) },
  });
  const recorded = await machine.sls([
    'admin',
    'boot',
    'record',
    '--evidence',
    'golden.json',
    '--name',
    'approved',
    '--dir',
    machine.server(),
  ]);
  expect({ code: recorded.code, stderr: recorded.stderr }).toEqual({
    code: 0,
    stderr: expect.stringContaining('boot state approved: PCRs 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 14, 22 events'),
  });
  keepBundle('golden-boot.jws');

  const same = await login('--verbose');
  expect({ code: same.code, stderr: same.stderr }).toEqual({
    code: 0,
    stderr: expect.stringContaining('boot state approved'),
  });

  await boot(machine, bootEvents({ secureBoot: false, loader: 'another loader' }));

  // The login service has the bundle too, and looks first.
  const service = await login();
  expect(service.code).toBe(5);
  expect(service.stderr).toMatch(/refused by the login service at step policy: .*\(policy\.boot_state\)/);
  expect(readFileSync(machine.server('log', 'login.log'), 'utf8')).toContain(
    'SecureBoot = 00, expected EV_EFI_VARIABLE_DRIVER_CONFIG SecureBoot = 01',
  );

  // A service that demands nothing leaves it to the client, whose own policy stands whatever the newest bundle says.
  const golden = await readSignedBundle(readFileSync(machine.path('golden-boot.jws'), 'utf8'));
  await publishTrustBundle(new FolderKeyStore(machine.server()), { policy: { softwareTpm: 'allow' } });
  await untilServiceDemandsNothing();
  const credential = { username: 'ada', password: PASSWORD };
  await expect(
    libraryLogin(golden, { credential, policy: { bootStates: golden.policy.bootStates } }),
  ).rejects.toMatchObject({
    step: 'policy',
    code: 'policy.boot_state',
    message: expect.stringMatching(
      /compared with approved, PCRs 4, 7 differ, PCR 7 first by event 2: .* SecureBoot = 00, expected .* SecureBoot = 01/,
    ),
  });

  expect((await login('--event-log', '--evidence', 'other.json')).code).toBe(0);
  const explained = await verifyBy('golden-boot.jws', 'other.json', '--explain');
  expect(explained.code).toBe(5);
  expect(explained.stdout).toContain('boot: not as in golden state approved');
  expect(explained.stdout).toMatch(/PCR 0 {2}same/);
  expect(explained.stdout).toMatch(
    /PCR 4 {2}differs [^]* by event 15: EV_EFI_BOOT_SERVICES_APPLICATION partition 1 \\EFI\\debian\\grubx64\.efi, whose content has digest/,
  );
  expect(explained.stdout).toMatch(/PCR 7 {2}differs [^]* by event 2: .* SecureBoot = 00/);
  expect(explained.stdout).toContain('first to differ: PCR 7');
  expect(explained.stdout).toContain(
    'event log: 22 events lead to the quoted values of PCRs 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 14',
  );

  const good = await verifyBy('golden-boot.jws', 'golden.json', '--explain', '--json');
  expect(JSON.parse(good.stdout)).toMatchObject({
    verdict: 'good',
    boot: { state: 'approved', eventLog: expect.stringContaining('22 events') },
  });
});

const KERNEL = 'root=/dev/vda2 ro quiet';
const record = (evidence: string, ...args: string[]): ReturnType<Machine['sls']> =>
  machine.sls(['admin', 'boot', 'record', '--evidence', evidence, '--trust', 'any-boot.jws', ...args]);

test('a changed kernel command line is refused and told in words; the next state is recorded beside the one that is demanded', async () => {
  await boot(machine, bootEvents({ commandLine: `${KERNEL} init=/bin/sh` }));
  expect((await login('--event-log', '--evidence', 'init.json')).code).toBe(0);
  const refused = await verifyBy('golden-boot.jws', 'init.json', '--explain');
  expect(refused.code).toBe(5);
  expect(refused.stderr).toContain('policy.boot_state');
  expect(refused.stdout).toMatch(/PCR 7 {2}same/);
  expect(refused.stdout).toMatch(/PCR 8 {2}differs [^]*the kernel command line has init=\/bin\/sh\n/);

  // An update, approved on a machine that has it already: both states stand until all machines have it.
  await boot(machine, bootEvents({ commandLine: `${KERNEL} mitigations=auto` }));
  expect((await login('--event-log', '--evidence', 'update.json')).code).toBe(0);
  for (const [evidence, name] of [
    ['golden.json', 'approved'],
    ['update.json', 'update'],
  ] as const)
    expect(await record(evidence, '--name', name, '--dir', machine.server())).toMatchObject({ code: 0 });
  keepBundle('both.jws');
  for (const evidence of ['golden.json', 'update.json'])
    expect(await verifyBy('both.jws', evidence)).toMatchObject({ code: 0 });
  expect(await verifyBy('both.jws', 'init.json')).toMatchObject({ code: 5 });
  expect((await machine.sls(['admin', 'boot', 'list', '--dir', machine.server()])).stdout).toBe(
    ['approved', 'update'].map((name) => `${name}: PCRs 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 14, 22 events\n`).join(''),
  );

  const remove = (...args: string[]): ReturnType<Machine['sls']> =>
    machine.sls(['admin', 'boot', 'remove', ...args, '--dir', machine.server()]);
  expect(await remove('approved')).toMatchObject({ code: 0 });
  keepBundle('update-alone.jws');
  expect(await verifyBy('update-alone.jws', 'golden.json')).toMatchObject({ code: 5 });
  expect(await remove('approved')).toMatchObject({
    code: 2,
    stderr: expect.stringContaining('(update), got approved'),
  });
  expect(await remove('update')).toMatchObject({ code: 2, stderr: expect.stringContaining('--any-boot') });
  expect(await remove('update', '--any-boot')).toMatchObject({ code: 0 });
  keepBundle('none.jws');
  expect((await readSignedBundle(readFileSync(machine.path('none.jws'), 'utf8'))).policy.bootStates).toBeUndefined();
});

test('--pcrs narrows a state, and what it leaves open is said', async () => {
  const narrow = await record('golden.json', '--name', 'narrow', '--pcrs', '0,7,8');
  expect(Object.keys((JSON.parse(narrow.stdout) as { pcrs: object }).pcrs)).toEqual(['0', '7', '8']);
  expect(narrow.stderr).toContain(
    'not required: PCRs 1, 2, 3, 4, 5, 6, 9, 14, although something was measured into them',
  );
  expect(await record('golden.json', '--name', 'x', '--pcrs', '0,16')).toMatchObject({
    code: 2,
    stderr: expect.stringContaining('expected PCRs from 0 to 15'),
  });
});

test('a state is recorded only from evidence that verifies, and names are checked', async () => {
  const forged = JSON.parse(readFileSync(machine.path('golden.json'), 'utf8')) as { pcrs: { sha256: string }[] };
  (forged.pcrs[0] as { sha256: string }).sha256 = Buffer.alloc(32, 1).toString('base64');
  writeFileSync(machine.path('forged.json'), JSON.stringify(forged));
  const refused = await machine.sls([
    'admin',
    'boot',
    'record',
    '--evidence',
    'forged.json',
    '--name',
    'x',
    '--trust',
    'any-boot.jws',
  ]);
  expect({ code: refused.code, stdout: refused.stdout, stderr: refused.stderr }).toEqual({
    code: 5,
    stdout: '',
    stderr: expect.stringContaining('pcr_digest'),
  });
  const named = await machine.sls([
    'admin',
    'boot',
    'record',
    '--evidence',
    'golden.json',
    '--name',
    'a b',
    '--trust',
    'any-boot.jws',
  ]);
  expect({ code: named.code, stderr: named.stderr }).toEqual({
    code: 1,
    stderr: expect.stringContaining('expected a name'),
  });
});
