import { randomBytes, X509Certificate } from 'node:crypto';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { exportJWK, generateKeyPair } from 'jose';
import type { CryptoKey } from 'jose';
import { parseAddress } from '../../runtime/rpc/address';
import { attestorClient, AttestStream } from '../support/attest-stream';
import { makeAuthority } from '../support/authority';
import { startTrustingEnrol } from '../support/enrol';
import type { TrustingEnrol } from '../support/enrol';
import { startNodeTpm } from '../support/node-tpm';
import type { NodeTpm } from '../support/node-tpm';
import { startProgram } from '../support/program';
import { issueWorkloadCredential } from '../../launcher/workload-credential';

let tpm: NodeTpm;
let enrol: TrustingEnrol;
let launcher: CryptoKey;
let settings: Record<string, string>;

beforeAll(async () => {
  tpm = await startNodeTpm();
  enrol = await startTrustingEnrol(join(tpm.folder, 'enrol.sock'));
  const keys = await generateKeyPair('ES256', { extractable: true });
  launcher = keys.privateKey;
  await writeFile(join(tpm.folder, 'launcher.json'), JSON.stringify(await exportJWK(keys.publicKey)));
  settings = {
    LISTEN: `unix:${join(tpm.folder, 'attestor.sock')}`,
    SOCKET_MODE: '0660',
    TPM: tpm.tcti,
    NODE_NAME: 'node-1',
    STATE_DIR: join(tpm.folder, 'attestor'),
    ENROL_ADDRESS: `unix:${join(tpm.folder, 'enrol.sock')}`,
    IDENTITY: 'process',
    LAUNCHER_KEY_FILE: join(tpm.folder, 'launcher.json'),
    LOG_LEVEL: 'trace',
  };
});
afterAll(async () => {
  await enrol.stop();
  await tpm.stop();
});

/** Arguments of every process of this machine. */
function commandLines(): string {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map((name) => {
      try {
        return readFileSync(`/proc/${name}/cmdline`, 'utf8');
      } catch {
        return '';
      }
    })
    .join('\n');
}

test('the program serves its socket, keeps its secrets out of logs and arguments, and leaves nothing behind', async () => {
  const program = await startProgram('attestor-daemon', { ...settings, TPM_TRANSPORT: 'tools' });
  const socket = join(tpm.folder, 'attestor.sock');
  expect((await stat(socket)).mode & 0o777).toBe(0o660);
  const credential = await issueWorkloadCredential(launcher, {
    user: 'user-1',
    workloadUid: 'uid-1',
    imageDigest: `sha256:${'ab'.repeat(32)}`,
  });
  const client = attestorClient(parseAddress(`unix:${socket}`));
  const stream = new AttestStream(
    client,
    `Bearer ${credential}`,
    new X509Certificate((await makeAuthority('enclave')).certificate).raw,
  );
  let seen = '';
  const watching = setInterval(() => (seen += commandLines()), 2);
  for (let quotes = 0; quotes < 5; quotes++)
    expect(await stream.ask({ nonce: randomBytes(32) })).toMatchObject({ $case: 'evidence' });
  clearInterval(watching);
  expect(seen).toContain('tpm2_quote');
  const again = new AttestStream(client, `Bearer ${credential}`, Buffer.alloc(0));
  await expect(again.ask()).toRejectWithCode('attestor.credential_used');
  client.close();
  expect(await program.stop()).toEqual({ code: 0 });

  const authorization = (await readFile(join(tpm.folder, 'attestor', 'ak-auth'), 'utf8')).replace('hex:', '');
  for (const secret of [authorization, credential]) {
    expect(program.log()).not.toContain(secret);
    expect(seen).not.toContain(secret);
  }
  expect(program.log()).toContain('attestor.credential_used');
  expect(existsSync(socket)).toBe(false);
  expect(readdirSync(join(tpm.folder, 'attestor')).sort()).toEqual([
    'ak-auth',
    'ak-certificates.pem',
    'ak-public',
    'used-credentials',
    'workload-certificates.json',
  ]);
});

test.each([
  ['LISTEN', 'http://127.0.0.1:0'],
  ['TPM', '/dev/tpmrm0'],
  ['TPM_OWNER_AUTH_FILE', '/nonexistent'],
  ['TPM_ENDORSEMENT_AUTH_FILE', '/nonexistent'],
  ['NODE_NAME', '../node'],
  ['SOCKET_MODE', '999'],
  ['AK_HANDLE', '0x40000001'],
  ['TPM_TRANSPORT', 'other'],
  ['IDENTITY', 'none'],
  ['LAUNCHER_KEY_FILE', '/nonexistent'],
])('a wrong %s ends the program with 2 and names the setting', async (name, value) => {
  await expect(startProgram('attestor-daemon', { ...settings, [name]: value })).rejects.toThrow(
    new RegExp(`ended with 2: .*${name}`, 's'),
  );
});

test('the native transport, asked for where only tpm2-tools know the address, ends the program with 2', async () => {
  const command = { TPM: `cmd:exec tpm2_send -T ${tpm.tcti}`, TPM_TRANSPORT: 'native' };
  await expect(startProgram('attestor-daemon', { ...settings, ...command })).rejects.toThrow(
    /ended with 2: .*TPM_TRANSPORT: expected tools for a TPM at cmd:exec/s,
  );
});
