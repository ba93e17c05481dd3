import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { makeIdentity } from '../../enclave/identity';
import { parseAddress } from '../../runtime/rpc/address';
import type { AttestorServiceClient, AttestRequest } from '../../proto/gen/licensing/v1/attestor';
import { Purpose } from '../../proto/gen/licensing/v1/evidence';
import { attestorClient, AttestStream } from '../support/attest-stream';
import { eventually } from '../support/eventually';
import { Machine } from '../support/machine';

jest.setTimeout(180_000);

// A login service in wrong hands certifies a client of its own, enters the user's enclave, and runs a command there. What the command finds, the
// tests read for it: root, who runs them, is kept from nothing. What a user is kept from is in test/launcher/execute-only.test.ts.
let machine: Machine;
let client: AttestorServiceClient;
let certificate: Buffer;
let credentialFile: string;
beforeAll(async () => {
  machine = new Machine();
  await machine.startService();
  await machine.signUpAndLogin('ada');
  certificate = (await makeIdentity('sls.local')).certificate;
  const { stdout } = await machine.sls(['exec', '--', 'sh', '-c', "tr '\\0' '\\n' < /proc/$PPID/environ"]);
  const setting = (name: string): string => new RegExp(`^${name}=(.*)$`, 'm').exec(stdout)?.[1] ?? '';
  credentialFile = setting('ATTESTOR_CREDENTIAL_FILE');
  client = attestorClient(parseAddress(setting('ATTESTOR_ADDRESS')));
});
afterAll(async () => {
  client.close();
  await machine.remove();
});

let used = '';
/** Asks by a credential of the enclave's that opened no stream yet. @returns the refusal's code; undefined when there is evidence */
async function steal(fields: Partial<AttestRequest> = {}): Promise<string | undefined> {
  const credential = await eventually(() => {
    const found = readFileSync(credentialFile, 'utf8').trim();
    return found !== used && found;
  });
  used = credential;
  const stream = new AttestStream(client, `Bearer ${credential}`, certificate);
  try {
    const result = await stream.ask(fields);
    return result?.$case === 'failure' ? result.value.code : undefined;
  } catch (error) {
    return (error as { code: string }).code;
  } finally {
    stream.end();
  }
}

test('while the enclave has its stream, its credential opens no second one', async () => {
  // The one in the file may be what the enclave itself came with: the next one is nobody's yet.
  let code = await steal();
  while (code === 'attestor.credential_used') code = await steal();
  expect(code).toBe('attestor.stream_open');
  expect(await machine.sls(['exec', '--', 'echo', 'ok'])).toMatchObject({ code: 0, stdout: 'ok\n' });
});

test('where the enclave is stopped and the attestor starts anew, its credential makes no evidence for another key', async () => {
  const enclave = machine.pidOf('enclave.cjs');
  process.kill(enclave, 'SIGSTOP');
  try {
    process.kill(machine.pidOf('attestor-daemon.cjs'), 'SIGKILL');
    const session = { purpose: Purpose.PURPOSE_SESSION, tlsExporter: Buffer.alloc(32, 1) };
    for (const fields of [{}, session]) {
      let code = await steal(fields);
      while (code === 'rpc.unavailable' || code === 'attestor.not_ready') code = await steal(fields);
      expect(code).toBe('attestor.certificate_changed');
    }
  } finally {
    process.kill(enclave, 'SIGCONT');
  }
  // The thief used its credential up: it has another one within ten seconds.
  await eventually(async () => (await machine.sls(['exec', '--', 'echo', 'ok'])).stdout === 'ok\n');
});

test.each(['credential', 'environ', 'memory'])("a client can't fetch the enclave's own file: %s", async (which) => {
  const { stdout } = await machine.sls(['exec', '--', 'sh', '-c', 'echo $PPID']);
  const paths: Record<string, string> = {
    credential: credentialFile,
    environ: '/proc/self/environ',
    memory: join('/proc', stdout.trim(), 'maps'),
  };
  const { code, stderr } = await machine.sls(['cp', `enclave:${paths[which]}`, '-']);
  expect(code).not.toBe(0);
  expect(stderr).toContain("the enclave's own");
});

test('a signal from a command opens no debugger', async () => {
  const script = 'kill -USR1 $PPID; for i in 1 2 3 4 5; do sleep 0.1; cat /proc/$PPID/net/tcp; done';
  const { code, stdout } = await machine.sls(['exec', '--', 'sh', '-c', script]);
  expect(code).toBe(0);
  // 127.0.0.1:9229
  expect(stdout).not.toMatch(/0100007F:240D/i);
});
