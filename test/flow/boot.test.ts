import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { login as libraryLogin } from '../../client';
import { FolderKeyStore } from '../../installation/folder';
import { publishTrustBundle } from '../../installation/trust';
import { parseTrustBundle } from '../../attestation/trust/bundle';
import { extendingEvents } from '../../attestation/tpm/event-log/replay';
import { parseEventLog } from '../../attestation/tpm/event-log/parse';
import { bootEvents, encodeEventLog } from '../support/event-log';
import type { EventInput } from '../support/event-log';
import { Machine, PASSWORD } from '../support/machine';

jest.setTimeout(180_000);

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
  for (const { pcr, sha256 } of extendingEvents(parseEventLog(log))) {
    execFileSync('tpm2_pcrextend', [`${pcr}:sha256=${sha256.toString('hex')}`], { env });
  }
}

const machine = new Machine();
const login = (...args: string[]): ReturnType<Machine['sls']> =>
  machine.sls(['login', '--username', 'ada', '--password-stdin', ...args], { stdin: `${PASSWORD}\n` });

/** A copy of the installation's trust bundle as it is now. */
const keepBundle = (name: string): void =>
  writeFileSync(machine.path(name), readFileSync(machine.server('trust-bundle.json')));

async function untilServiceDemandsNothing(): Promise<void> {
  for (const end = Date.now() + 20_000; (await login()).code !== 0;) {
    if (Date.now() > end) throw new Error('expected the login service to take the new bundle within 20 s');
    await sleep(500);
  }
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
  keepBundle('any-boot.json');

  const shown = await machine.sls([
    'admin',
    'boot',
    'record',
    '--evidence',
    'golden.json',
    '--name',
    'approved',
    '--trust',
    'any-boot.json',
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
    stderr: expect.stringContaining('boot state approved: PCRs 0, 1, 2, 3, 4, 5, 6, 7'),
  });
  keepBundle('golden-boot.json');

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
  const golden = parseTrustBundle(readFileSync(machine.path('golden-boot.json'), 'utf8'));
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
  const explained = await machine.sls(['verify', 'other.json', '--trust', 'golden-boot.json', '--explain']);
  expect(explained.code).toBe(5);
  expect(explained.stdout).toContain('boot: not as in golden state approved');
  expect(explained.stdout).toMatch(/PCR 0 {2}same/);
  expect(explained.stdout).toMatch(
    /PCR 4 {2}differs [^]* by event 15: EV_EFI_BOOT_SERVICES_APPLICATION partition 1 \\EFI\\debian\\grubx64\.efi, whose content has digest/,
  );
  expect(explained.stdout).toMatch(/PCR 7 {2}differs [^]* by event 2: .* SecureBoot = 00/);
  expect(explained.stdout).toContain('first to differ: PCR 7');
  expect(explained.stdout).toContain('event log: 16 events lead to the quoted values of PCRs 0, 1, 2, 3, 4, 5, 6, 7');

  const good = await machine.sls(['verify', 'golden.json', '--trust', 'golden-boot.json', '--explain', '--json']);
  expect(JSON.parse(good.stdout)).toMatchObject({
    verdict: 'good',
    boot: { state: 'approved', eventLog: expect.stringContaining('16 events') },
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
    'any-boot.json',
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
    'any-boot.json',
  ]);
  expect({ code: named.code, stderr: named.stderr }).toEqual({
    code: 1,
    stderr: expect.stringContaining('expected a name'),
  });
});
