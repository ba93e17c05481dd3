import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { connect } from '../../client/index';
import type { EnclaveConnection, Session } from '../../client/index';
import { newNonce } from '../../attestation/certificates/proof';
import { built } from '../support/built';
import { eventually } from '../support/eventually';
import { askForEvidence, makeClient, startEnclaveFixture } from '../support/enclave';
import type { EnclaveFixture } from '../support/enclave';
import { TRUST_DOMAIN } from '../support/evidence';

// The program as it is shipped. The fixture lends its attestor, its client authority and its folder.
let fixture: EnclaveFixture;
let program: ChildProcess;
let log: string;
let settings: Record<string, string>;

beforeAll(async () => {
  fixture = await startEnclaveFixture();
  settings = {
    LISTEN: 'http://127.0.0.1:0',
    TLS_LISTEN: '127.0.0.1:0',
    ATTESTOR_ADDRESS: fixture.attestor.address,
    ATTESTOR_CREDENTIAL_FILE: fixture.credentialFile,
    CLIENT_CA_FILE: join(fixture.folder, 'client-ca.pem'),
    ENCLAVE_USER: fixture.user,
    TRUST_DOMAIN,
    WORKSPACE_DIR: fixture.workspace,
    READY_FILE: join(fixture.folder, 'ready'),
    // No login service is here that would give any.
    SEATS: 'off',
    LOG_LEVEL: 'trace',
  };
});
afterEach(() => {
  program.kill('SIGKILL');
});
afterAll(() => fixture.stop());

function start(change: Record<string, string> = {}): void {
  log = '';
  program = spawn(process.execPath, [built('enclave')], {
    env: { PATH: process.env['PATH'], ...settings, ...change },
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  program.stderr?.on('data', (chunk: Buffer) => (log += String(chunk)));
}

async function ready(): Promise<{ listen: number; tls: number }> {
  const file = settings['READY_FILE'] as string;
  await eventually(() => existsSync(file) || program.exitCode !== null);
  if (!existsSync(file)) throw new Error(`expected it to serve: ${log}`);
  const { ports } = JSON.parse(await readFile(file, 'utf8')) as { ports: { listen: number; tls: number } };
  await rm(file);
  return ports;
}

async function open(): Promise<EnclaveConnection> {
  const { listen, tls } = await ready();
  const client = await makeClient(fixture);
  const endpoint = `http://127.0.0.1:${listen}`;
  const nonce = newNonce();
  const session: Session = {
    ...(await fixture.session()),
    ...client,
    nonce,
    evidence: await askForEvidence(endpoint, fixture.trust, client, nonce),
  };
  return connect(fixture.trust, {
    ...session,
    enclave: { ...session.enclave, endpoint, tlsAddress: `127.0.0.1:${tls}` },
  });
}

/** A command that would run for ever; resolves with its process once it runs. */
async function startSleeper(connection: EnclaveConnection): Promise<{ pid: number; exit: Promise<unknown> }> {
  const stdout = new PassThrough();
  const exit = connection.exec(['sh', '-c', 'echo $$; exec sleep 1000'], {
    stdin: new PassThrough(),
    stdout,
    stderr: new PassThrough(),
  });
  exit.catch(() => undefined);
  const [chunk] = (await once(stdout, 'data')) as [Buffer];
  return { pid: Number(String(chunk)), exit };
}

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}

test('SIGTERM ends it in order, with its commands, and clients hear that of them and of the connection', async () => {
  start();
  const connection = await open();
  const { pid, exit } = await startSleeper(connection);
  program.kill('SIGTERM');
  await expect(exit).toRejectWithCode('enclave.stopped');
  expect(await connection.closed).toMatchObject({ code: 'connection.closed' });
  if (program.exitCode === null) await once(program, 'exit');
  expect(program.exitCode).toBe(0);
  expect(isAlive(pid)).toBe(false);
});

test('a killed enclave: clients hear at once that the connection ended', async () => {
  start();
  const connection = await open();
  const { pid, exit } = await startSleeper(connection);
  const put = connection.putFile(Object.assign(new PassThrough(), { size: 10, mode: 0o600 }), 'never');
  put.catch(() => undefined);
  program.kill('SIGKILL');
  await expect(exit).toRejectWithCode('connection.closed');
  await expect(put).toRejectWithCode('connection.closed');
  await expect(connection.status()).toRejectWithCode('connection.closed');
  expect(await connection.closed).toMatchObject({ code: 'connection.closed' });
  // Without a container around it, what it ran is its launcher's to end.
  process.kill(pid, 'SIGKILL');
});

test('nobody connected for IDLE_SECONDS: it ends', async () => {
  start({ IDLE_SECONDS: '1' });
  await ready();
  if (program.exitCode === null) await once(program, 'exit');
  expect(program.exitCode).toBe(0);
});

test('settings that are wrong: exit code 2, and each is named', async () => {
  start({ TLS_LISTEN: 'here', WORKSPACE_DIR: 'relative', ATTESTOR_ADDRESS: 'unix:relative' });
  await once(program, 'exit');
  expect(program.exitCode).toBe(2);
  for (const name of ['TLS_LISTEN', 'WORKSPACE_DIR', 'ATTESTOR_ADDRESS']) expect(log).toContain(name);
});

test('neither keys nor credentials are in its log or in any file', async () => {
  await writeFile(fixture.credentialFile, 'the-workload-credential');
  start();
  const connection = await open();
  await startSleeper(connection);
  expect(log).not.toMatch(/PRIVATE KEY|the-workload-credential/);
  const files = (await readdir(fixture.folder, { recursive: true, withFileTypes: true })).filter((entry) =>
    entry.isFile(),
  );
  for (const file of files)
    expect(await readFile(join(file.parentPath ?? file.path, file.name), 'latin1')).not.toContain('PRIVATE KEY');
  connection.close();
});
