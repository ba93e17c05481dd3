import { chmod, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { generateKeyPairSync } from 'node:crypto';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { built } from '../support/built';
import { spawn } from 'node:child_process';
import { startTrustingEnrol } from '../support/enrol';
import type { TrustingEnrol } from '../support/enrol';
import { startNodeTpm } from '../support/node-tpm';
import type { NodeTpm } from '../support/node-tpm';
import { eventually } from '../support/eventually';
import { startProgram } from '../support/program';

// The attestor as `sls up` starts it, on TPMs that somebody set up for themselves.
let tpm: NodeTpm;
let enrol: TrustingEnrol;
let stateDir: string;
beforeEach(async () => {
  tpm = await startNodeTpm();
  enrol = await startTrustingEnrol(join(tpm.folder, 'enrol.sock'));
  stateDir = await mkdtemp(join(tmpdir(), 'sls-owned-'));
  const { publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  await writeFile(join(stateDir, 'launcher.json'), JSON.stringify(publicKey.export({ format: 'jwk' })));
  for (const [name, text] of [
    ['right', 'a password'],
    ['wrong', 'another one'],
  ] as const)
    await writeFile(join(stateDir, name), text, { mode: 0o600 });
});
afterEach(async () => {
  await enrol.stop();
  await tpm.stop();
  await rm(stateDir, { recursive: true, force: true });
});

const settings = (change: Record<string, string> = {}): Record<string, string> => ({
  LISTEN: `unix:${join(tpm.folder, 'attestor.sock')}`,
  TPM: tpm.tcti,
  NODE_NAME: 'node-1',
  STATE_DIR: join(stateDir, 'attestor'),
  ENROL_ADDRESS: `unix:${join(tpm.folder, 'enrol.sock')}`,
  IDENTITY: 'process',
  LAUNCHER_KEY_FILE: join(stateDir, 'launcher.json'),
  END_UNREADY: 'true',
  ...change,
});
const file = (name: string): string => join(stateDir, name);

/** It ends by itself, before anybody waits for it, and the last line of its log says why. */
async function reasonOf(change: Record<string, string> = {}): Promise<string> {
  const failure = await startProgram('attestor-daemon', settings(change)).then(
    async (program) => (await program.stop(), new Error('it serves')),
    (error: Error) => error,
  );
  return failure.message;
}

async function expectServing(change: Record<string, string> = {}): Promise<string> {
  const program = await startProgram('attestor-daemon', settings(change));
  await program.stop();
  return program.log();
}

test("the owner's password: without the setting, with another one, and with the right one, which stays out of arguments and log", async () => {
  await tpm.tool('tpm2_changeauth', '-Q', '-c', 'o', 'a password');
  expect(await reasonOf()).toContain("the TPM's owner hierarchy has a password: set TPM_OWNER_AUTH_FILE");
  const wrong = await reasonOf({ TPM_OWNER_AUTH_FILE: file('wrong') });
  expect(wrong).toContain("the TPM's owner hierarchy has another password than the file of TPM_OWNER_AUTH_FILE holds");
  const recorded = await recordTools();
  const log = await expectServing({ TPM_OWNER_AUTH_FILE: file('right'), PATH: recorded.path });
  const seen = await recorded.calls();
  expect(seen).toContain('tpm2_evictcontrol');
  expect(`${seen}${log}${wrong}`).not.toMatch(/a password|another one\b/);
});

test("the endorsement hierarchy's password: without the setting, with another one, and with the right one", async () => {
  await tpm.tool('tpm2_changeauth', '-Q', '-c', 'e', 'a password');
  expect(await reasonOf()).toContain("the TPM's endorsement hierarchy has a password: set TPM_ENDORSEMENT_AUTH_FILE");
  expect(await reasonOf({ TPM_ENDORSEMENT_AUTH_FILE: file('wrong') })).toContain(
    "the TPM's endorsement hierarchy has another password than the file of TPM_ENDORSEMENT_AUTH_FILE holds",
  );
  await expectServing({ TPM_ENDORSEMENT_AUTH_FILE: file('right') });
});

test('a TPM that is locked because of wrong passwords still serves: nothing of the attestor is under that lock', async () => {
  await tpm.tool('tpm2_dictionarylockout', '-s', '-n', '1', '-t', '1000', '-l', '1000');
  await tpm.tool('tpm2_createprimary', '-Q', '-C', 'o', '-c', 'p.ctx');
  await tpm.tool(
    'tpm2_create',
    '-Q',
    '-C',
    'p.ctx',
    '-G',
    'ecc',
    '-p',
    'secret',
    '-u',
    'k.pub',
    '-r',
    'k.priv',
    '-c',
    'k.ctx',
  );
  await tpm.write('message', Buffer.from('message'));
  const guess = async (): Promise<string> => {
    await tpm.tool('tpm2_flushcontext', '-t');
    return tpm.tool('tpm2_sign', '-Q', '-c', 'k.ctx', '-p', 'guess', '-o', 's', 'message');
  };
  await expect(guess()).rejects.toThrow();
  await expect(guess()).rejects.toThrow(/lockout|0x921/i);
  await tpm.tool('tpm2_flushcontext', '-t');
  await expectServing();
});

test('the handle of the attestation key is taken by another program: it keeps its key, and another handle serves', async () => {
  await tpm.tool('tpm2_createprimary', '-Q', '-C', 'o', '-c', 'other.ctx');
  await tpm.tool('tpm2_evictcontrol', '-Q', '-C', 'o', '-c', 'other.ctx', '0x81010010');
  const ak = ['-G', 'ecc', '-g', 'sha256', '-s', 'ecdsa', '-u', 'their.pub', '-n', 'their.name'];
  await tpm.tool('tpm2_createek', '-Q', '-G', 'rsa', '-c', '0x81010099', '-u', 'their.ek');
  await tpm.tool('tpm2_flushcontext', '-t');
  await tpm.tool('tpm2_createak', '-Q', '-C', '0x81010099', ...ak, '-c', 'their.ctx');
  await tpm.tool('tpm2_flushcontext', '-t');
  await tpm.tool('tpm2_evictcontrol', '-Q', '-C', 'o', '-c', 'their.ctx', '0x81010011');
  await tpm.tool('tpm2_flushcontext', '-t');
  for (const handle of ['0x81010010', '0x81010011']) {
    expect(await reasonOf({ AK_HANDLE: handle })).toContain(
      `expected nothing at ${handle}, got a key of another program: set AK_HANDLE to a free handle`,
    );
    expect(await tpm.tool('tpm2_getcap', 'handles-persistent')).toContain(handle);
  }
  await expectServing({ AK_HANDLE: '0x81010020' });
});

test('only a SHA-384 bank', async () => {
  await tpm.tool('tpm2_pcrallocate', '-Q', 'sha256:none+sha384:all');
  await tpm.kill();
  await tpm.restart();
  expect(await reasonOf()).toContain('expected an active SHA-256 bank of PCRs, got sha384: turn it on in the firmware');
});

test('no rights for the TPM', async () => {
  // The attestor's tools as a user that may not open it: root may open everything.
  const bin = await mkdtemp(join(tmpdir(), 'sls-bin-'));
  await chmod(bin, 0o755);
  for (const tool of (await readdir('/usr/bin')).filter((name) => name.startsWith('tpm2_'))) {
    const text = `#!/bin/sh\nexec setpriv --reuid 65534 --regid 65534 --clear-groups /usr/bin/${tool} "$@"\n`;
    await writeFile(join(bin, tool), text, { mode: 0o755 });
  }
  const device = join(tpm.folder, 'device');
  await writeFile(device, '', { mode: 0o600 });
  const reason = await reasonOf({ TPM: `device:${device}`, PATH: `${bin}:${process.env['PATH']}` });
  expect(reason).toContain(`expected rights to read and write the TPM at device:${device}, got permission denied`);
  await rm(bin, { recursive: true });
});

test.each(['device:/dev/no-such-tpm', 'swtpm:path=/no/such/socket', 'no-such-tcti:x'])('no TPM at %s', async (tcti) => {
  expect(await reasonOf({ TPM: tcti })).toContain(`no TPM answers at ${tcti}`);
});

test('another TCTI of tpm2-tools serves as well', async () => {
  await expectServing({ TPM: `cmd:tpm2_send -T ${tpm.tcti}` });
});

test('another program that extends PCR 23 all the time', async () => {
  // Just before each quote, however the machine shares its processors: between native commands nobody else is let in by swtpm.
  const bin = await mkdtemp(join(tmpdir(), 'sls-bin-'));
  const extend = `/usr/bin/tpm2_pcrextend -T ${tpm.tcti} 23:sha256=${'1'.padStart(64, '0')}`;
  await writeFile(join(bin, 'tpm2_quote'), `#!/bin/sh\n${extend}\nexec /usr/bin/tpm2_quote "$@"\n`, { mode: 0o755 });
  const reason = await reasonOf({ TPM_TRANSPORT: 'tools', PATH: `${bin}:${process.env['PATH']}` });
  expect(reason).toMatch(/expected PCR 23 to stay as it was set.* another process changed it each time/);
  await rm(bin, { recursive: true });
});

test('a reason stands beside the ready file for a readiness probe, while the program goes on trying', async () => {
  await tpm.tool('tpm2_changeauth', '-Q', '-c', 'o', 'a password');
  const ready = file('ready');
  const child = spawn(process.execPath, [built('attestor-daemon')], {
    env: { PATH: process.env['PATH'], ...settings({ END_UNREADY: 'false', READY_FILE: ready }) },
    stdio: 'ignore',
  });
  try {
    const reading = (name: string): Promise<string | undefined> => readFile(name, 'utf8').catch(() => undefined);
    await eventually(async () => (await reading(`${ready}.reason`))?.includes('set TPM_OWNER_AUTH_FILE'));
    expect(await reading(ready)).toBeUndefined();
    await tpm.tool('tpm2_changeauth', '-Q', '-c', 'o', '-p', 'a password', '');
    await eventually(
      async () => (await reading(ready)) !== undefined && (await reading(`${ready}.reason`)) === undefined,
    );
  } finally {
    child.kill('SIGKILL');
  }
});

/** tpm2-tools that write down how they are called, and then are the real ones. @returns a PATH with them first */
async function recordTools(): Promise<{ path: string; calls(): Promise<string> }> {
  const folder = join(stateDir, 'tools');
  const calls = join(stateDir, 'calls');
  await mkdir(folder);
  for (const tool of (await readdir('/usr/bin')).filter((name) => name.startsWith('tpm2_'))) {
    const script = `#!/bin/sh\necho "${tool} $*" >>'${calls}'\nexec /usr/bin/${tool} "$@"\n`;
    await writeFile(join(folder, tool), script, { mode: 0o755 });
  }
  return { path: `${folder}:${process.env['PATH'] ?? '/usr/bin:/bin'}`, calls: () => readFile(calls, 'utf8') };
}
