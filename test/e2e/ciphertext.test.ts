import { randomBytes } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { decodeJwt } from 'jose';
import { Person } from './support/person';
import { RecordingProxy } from './support/recording-proxy';
import { setting } from './support/settings';

const ENCLAVE = /^enclave-/;
const secret = `secret-${randomBytes(16).toString('hex')}`;
const whit = new Person();
let proxy: RecordingProxy;

beforeAll(async () => {
  proxy = await RecordingProxy.start();
  whit.machine.env['all_proxy'] = proxy.url;
  await whit.signup();
  await whit.login();
});
afterAll(async () => {
  await whit.leave();
  await proxy.stop();
});

test('ingress, activator and queue-proxy see ciphertext only: no command, no output, no file of the session', async () => {
  const file = whit.machine.path(`${secret}.txt`);
  writeFileSync(file, `${secret}\n`.repeat(2_000));
  await whit.do(['cp', file, `enclave:${secret}.txt`]);
  const { stdout } = await whit.do(['exec', '--', 'head', '-n', '1', `${secret}.txt`]);
  expect(stdout).toBe(`${secret}\n`);
  await whit.do(['cp', `enclave:${secret}.txt`, whit.machine.path('back.txt')]);

  const seen = proxy.bytes(ENCLAVE);
  expect(seen.length).toBeGreaterThan(150_000);
  expect(seen.includes(secret)).toBe(false);
  for (const word of ['head', 'SessionService', 'PutFile', 'workspace']) expect(seen.includes(word)).toBe(false);
  // What goes through is TLS 1.3: a ClientHello record, then application data records (RFC 8446, 5.1).
  expect(seen.includes(Buffer.from([0x16, 0x03, 0x01]))).toBe(true);
  expect(seen.includes(Buffer.from([0x17, 0x03, 0x03]))).toBe(true);
});

test('the recorder does record: what has no TLS of its own is there to read', () => {
  const { services } = decodeJwt<{ services: { login: string } }>(readFileSync(setting('SLS_TRUST'), 'utf8').trim());
  const seen = proxy.bytes(/^(login|signup)\./);
  expect(seen.length).toBeGreaterThan(0);
  // Test clusters have no TLS at their ingress.
  expect(seen.includes(whit.username)).toBe(services.login.startsWith('http:'));
});
