import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import { credentials } from '@grpc/grpc-js';
import { createAuthority } from '../licensing/authority/authority';
import { unary } from '../runtime/rpc/handlers';
import type { Implementation } from '../runtime/rpc/handlers';
import { startServer } from '../runtime/rpc/server';
import { LauncherServiceService } from '../proto/gen/licensing/v1/launcher';
import type { LauncherServiceServer } from '../proto/gen/licensing/v1/launcher';
import { LoginRequest, LoginServiceClient, LoginServiceService } from '../proto/gen/licensing/v1/login';
import { TransparencyServiceService } from '../proto/gen/licensing/v1/transparency';
import { openReplica, writeAccountFiles } from '../test/support/accounts';
import { makeClient, startEnclaveFixture } from '../test/support/enclave';
import { startEmbeddedTestPostgres } from '../test/support/embedded-postgres';
import { startEnclaveEndpoint } from '../test/support/enclave-endpoint';
import { byPassword, logIn, loginRequest, newClientKey } from '../test/support/login-client';
import { startProgram } from '../test/support/program';
import { connectUnchecked, isServed } from '../test/support/session-client';
import { percentile, timed } from './bench';
import type { Row } from './bench';

const PASSWORD = 'correct horse battery staple';
/** Of the honest caller, quiet and under attack by turns. */
const ROUNDS = 2;
const CALLS = 6;

/** Plain Node.js, in a thread of its own: what strangers do costs the honest caller's thread nothing. They come from another address. */
const STRANGER = `
  const { workerData: { kind, port, path, body } } = require('node:worker_threads');
  const http2 = require('node:http2');
  const net = require('node:net');
  const options = { localAddress: '127.0.0.2' };
  const call = (session) => {
    const stream = session.request({ ':method': 'POST', ':path': path, 'content-type': 'application/grpc', te: 'trailers' });
    stream.on('error', () => undefined).resume();
    stream.end(Buffer.from(body));
    return stream;
  };
  const again = (open) => { const one = open(); one.on('error', () => undefined); one.on('close', () => setTimeout(again, 20, open)); return one; };
  if (kind === 'silent') for (let i = 0; i < 200; i++) again(() => net.connect({ port, host: '127.0.0.1', ...options }).resume());
  if (kind === 'resets') for (let i = 0; i < 8; i++) again(() => {
    const session = http2.connect('http://127.0.0.1:' + port, options);
    session.once('remoteSettings', () => {
      const streams = Array.from({ length: 900 }, () => call(session));
      setTimeout(() => { for (const stream of streams) stream.close(8); setTimeout(() => session.destroy(), 50); }, 50);
    });
    return session;
  });
  if (kind === 'replays') again(() => {
    const session = http2.connect('http://127.0.0.1:' + port, options);
    const replay = () => { if (!session.destroyed && !session.closed) call(session).once('close', replay); };
    session.once('remoteSettings', () => { for (let i = 0; i < 64; i++) replay(); });
    return session;
  });
`;

interface Attack {
  kind: 'resets' | 'silent' | 'replays';
  port: number;
  path?: string;
  body?: Buffer;
}

/** A message as gRPC frames it. */
function framed(message: Uint8Array): Buffer {
  const head = Buffer.alloc(5);
  head.writeUInt32BE(message.length, 1);
  return Buffer.concat([head, message]);
}

async function measure(honest: () => Promise<unknown>, into: number[]): Promise<void> {
  for (let i = 0; i < CALLS; i++) into.push((await timed(honest)).ms);
}

/** An honest caller's p50 and p99, quiet and while strangers are at work, by turns. */
async function underAttack(name: string, attack: Attack, honest: () => Promise<unknown>): Promise<Row[]> {
  const [quiet, attacked]: [number[], number[]] = [[], []];
  await honest();
  for (let round = 0; round < ROUNDS; round++) {
    await measure(honest, quiet);
    const stranger = new Worker(STRANGER, { eval: true, workerData: { path: '', body: Buffer.alloc(0), ...attack } });
    await sleep(1_000);
    await measure(honest, attacked);
    await stranger.terminate();
    await sleep(1_000);
  }
  return [0.5, 0.99].map((share) => {
    const [before, during] = [percentile(quiet, share), percentile(attacked, share)];
    const note = `quiet ${before.toFixed(0)} ms: ${(during / before).toFixed(1)} times, expected 3 at most`;
    return { name: `${name}, p${share * 100}`, value: during, unit: 'ms', note };
  });
}

/** The most memory that a process has had so far (proc(5), VmHWM), MiB. */
async function peakMiB(pid: number): Promise<number> {
  const [, kib] = /^VmHWM:\s+(\d+) kB/m.exec(await readFile(`/proc/${pid}/status`, 'utf8')) ?? [];
  return Number(kib) / 1024;
}

/** What an honest caller notices of strangers: calls that are reset at once, silent connections to an enclave, a login that is sent again and again. */
export async function run(): Promise<Row[]> {
  const database = await startEmbeddedTestPostgres();
  const files = await writeAccountFiles(database.url);
  const clientCa = await createAuthority({ commonName: 'client CA', trustDomain: 'sls.test', years: 1 });
  const [keyFile, certificateFile, socket] = ['ca.key', 'ca.crt', 'launcher.sock'].map((name) =>
    join(files.folder, name),
  ) as [string, string, string];
  await writeFile(keyFile, clientCa.privateKey, { mode: 0o600 });
  await writeFile(certificateFile, clientCa.certificate);
  const backend = await openReplica(files, { cost: 12 });
  const [user] = await Promise.all(
    ['alice', 'mallory'].map(async (name) => backend.accounts.create(name, await backend.hasher.hash(PASSWORD))),
  );
  await backend.close();
  const enclave = await startEnclaveEndpoint({ user: user!, clientCa: clientCa.certificate });
  const implementation: Implementation<LauncherServiceServer> = {
    ensureEnclave: unary(() => Promise.resolve({ ...enclave.location, started: false })),
    stopEnclave: unary(() => Promise.resolve({})),
    findEnclaves: unary(() => Promise.resolve({ node: '', running: [] })),
    removeEnclave: unary(() => Promise.resolve({})),
  };
  const launcher = await startServer({
    address: { scheme: 'unix', path: socket },
    services: [{ definition: LauncherServiceService, implementation }],
  });
  const program = await startProgram('login', {
    ...files.settings,
    LOG_LEVEL: 'error',
    LISTEN: 'http://127.0.0.1:0',
    LOGINS_PER_ACCOUNT: '0',
    CLIENT_CA_KEY_FILE: keyFile,
    CLIENT_CA_CERTIFICATE_FILE: certificateFile,
    LAUNCHER: 'process',
    LAUNCHER_ADDRESS: `unix:${socket}`,
  });
  const port = program.port!;
  const client = new LoginServiceClient(`127.0.0.1:${port}`, credentials.createInsecure());
  const key = await newClientKey();
  const login = (): Promise<unknown> =>
    logIn(client, loginRequest(key, byPassword('alice', PASSWORD)), { timeout: 120_000 });
  const fixture = await startEnclaveFixture();
  const visitor = await makeClient(fixture);
  try {
    const resets = await underAttack(
      'login while calls are reset at once',
      { kind: 'resets', port, path: TransparencyServiceService.getTreeHead.path, body: framed(Buffer.alloc(0)) },
      login,
    );
    const replayed = LoginRequest.encode(loginRequest(key, byPassword('mallory', PASSWORD))).finish();
    const replays = await underAttack(
      'login while one is sent again and again',
      { kind: 'replays', port, path: LoginServiceService.login.path, body: framed(replayed) },
      login,
    );
    const silent = await underAttack(
      'handshake with an enclave while others say nothing',
      { kind: 'silent', port: fixture.enclave.ports.tls! },
      async () => {
        if (!(await isServed(connectUnchecked(visitor, fixture.enclave.ports.tls!)))) throw new Error('not served');
      },
    );
    const memory = await peakMiB(program.pid);
    const note = 'knative/base/login.yaml allows 512';
    return [...resets, ...replays, ...silent, { name: 'memory of login, at most', value: memory, unit: 'MiB', note }];
  } finally {
    client.close();
    await program.stop();
    await Promise.all([enclave.stop(), launcher.stop(0), fixture.stop()]);
    await files.remove();
    await database.stop();
  }
}
