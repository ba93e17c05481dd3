import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import { connect as connectHttp2, constants } from 'node:http2';
import type { ClientHttp2Session, IncomingHttpHeaders } from 'node:http2';
import { connect } from 'node:net';
import type { Socket } from 'node:net';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { credentials, status } from '@grpc/grpc-js';
import { createAuthority } from '../../../licensing/authority/authority';
import { issueServerCertificate } from '../../../licensing/authority/server';
import { callUnary } from '../../../runtime/rpc/client';
import type { RpcError } from '../../../runtime/rpc/errors';
import type { RunningServer } from '../../../runtime/rpc/server';
import { HealthClient } from '../../../proto/gen/grpc/health/v1/health';
import { LoginServiceClient, LoginStage } from '../../../proto/gen/licensing/v1/login';
import { openReplica, writeAccountFiles } from '../../support/accounts';
import type { AccountFiles } from '../../support/accounts';
import { testDatabase } from '../../support/postgres';
import { startEnclaveEndpoint } from '../../support/enclave-endpoint';
import type { EnclaveEndpoint } from '../../support/enclave-endpoint';
import { startOneLauncher } from '../../support/one-launcher';
import { byPassword, logIn, loginRequest, newClientKey } from '../../support/login-client';
import type { ClientKey } from '../../support/login-client';
import { startProgram } from '../../support/program';
import type { RunningProgram } from '../../support/program';
import type { CertifiedKey } from '../../../runtime/keys/key-pair';

const password = 'correct horse battery';
const HASH_QUEUE = 32;

let database: { url: string; stop(): Promise<void> };
let files: AccountFiles;
let clientCa: CertifiedKey;
let serverCa: CertifiedKey;
let enclave: EnclaveEndpoint;
let launcher: RunningServer;
/** Until then an enclave takes to start. */
let launched: Promise<void> = Promise.resolve();
let plain: RunningProgram;
let tls: RunningProgram;
let key: ClientKey;

beforeAll(async () => {
  database = await testDatabase();
  files = await writeAccountFiles(database.url);
  const { folder } = files;
  clientCa = await createAuthority({ commonName: 'client CA', trustDomain: 'sls.test', years: 1 });
  serverCa = await createAuthority({ commonName: 'server CA', trustDomain: 'sls.test', years: 1 });
  const served = await issueServerCertificate(serverCa, { hosts: ['localhost', '127.0.0.1'] });
  await writeFile(join(folder, 'ca.key'), clientCa.privateKey, { mode: 0o600 });
  await writeFile(join(folder, 'ca.crt'), clientCa.certificate);
  await writeFile(join(folder, 'server.key'), served.privateKey, { mode: 0o600 });
  await writeFile(join(folder, 'server.crt'), served.certificate);
  key = await newClientKey();

  const backend = await openReplica(files, { cost: 10 });
  const user = (await backend.accounts.create('alice', await backend.hasher.hash(password)))!;
  await backend.close();
  enclave = await startEnclaveEndpoint({ user, clientCa: clientCa.certificate });
  const launcherSocket = join(folder, 'launcher.sock');
  launcher = await startOneLauncher(launcherSocket, async () => {
    await launched;
    return { ...enclave.location, started: true };
  });

  const settings = {
    ...files.settings,
    LOG_LEVEL: 'trace',
    BCRYPT_COST: '10',
    HASH_QUEUE: String(HASH_QUEUE),
    HASH_WORKERS: '2',
    // The flood of one test comes from one address.
    LOGIN_FAILURES_PER_ACCOUNT: '0',
    LOGIN_FAILURES_PER_ADDRESS: '0',
    CLIENT_CA_KEY_FILE: join(folder, 'ca.key'),
    CLIENT_CA_CERTIFICATE_FILE: join(folder, 'ca.crt'),
    LAUNCHER: 'process',
    LAUNCHER_ADDRESS: `unix:${launcherSocket}`,
  };
  const keyFiles = { TLS_KEY_FILE: join(folder, 'server.key'), TLS_CERTIFICATE_FILE: join(folder, 'server.crt') };
  [plain, tls] = await Promise.all([
    // What an attack could make it keep is more than the cap: the program would end.
    startProgram('login', { ...settings, LISTEN: 'http://127.0.0.1:0', NODE_OPTIONS: '--max-old-space-size=96' }),
    startProgram('login', { ...settings, ...keyFiles, LISTEN: 'https://127.0.0.1:0' }),
  ]);
});

afterAll(async () => {
  const ended = await Promise.all([plain.stop(), tls.stop()]);
  await Promise.all([enclave.stop(), launcher.stop(0)]);
  await files.remove();
  await database.stop();
  expect(ended).toEqual([{ code: 0 }, { code: 0 }]);
});

/** A good client logs in, on a connection of its own. */
async function goodLogin(): Promise<void> {
  const client = new LoginServiceClient(`127.0.0.1:${plain.port}`, credentials.createInsecure());
  const { result } = await logIn(client, loginRequest(key, byPassword('alice', password)));
  client.close();
  expect(result.clientCertificates).toHaveLength(1);
}

function open(localAddress = '127.0.0.1'): ClientHttp2Session {
  // Node's types leave out what it hands on to the socket.
  const options: object = { localAddress };
  const session = connectHttp2(`http://127.0.0.1:${plain.port}`, options);
  session.on('error', () => undefined);
  return session;
}

function post(
  session: ClientHttp2Session,
  headers: Record<string, string> = {},
): ReturnType<ClientHttp2Session['request']> {
  const stream = session.request({
    ':method': 'POST',
    ':path': '/licensing.v1.LoginService/Login',
    'content-type': 'application/grpc',
    te: 'trailers',
    ...headers,
  });
  stream.on('error', () => undefined);
  return stream;
}

/** A gRPC frame: flag, length, bytes. */
function frame(bytes: Buffer, { compressed = false, length = bytes.length } = {}): Buffer {
  const head = Buffer.alloc(5);
  head[0] = compressed ? 1 : 0;
  head.writeUInt32BE(length, 1);
  return Buffer.concat([head, bytes]);
}

/** The status of the answer, or how the stream was reset. The request need not have ended. */
async function grpcStatus(stream: ReturnType<typeof post>): Promise<string> {
  stream.resume();
  const answer = await new Promise<IncomingHttpHeaders>((resolve) => {
    stream.once('response', (headers) => headers['grpc-status'] !== undefined && resolve(headers));
    stream.once('trailers', resolve);
    stream.once('close', () => resolve({}));
  });
  stream.close();
  return String(answer['grpc-status'] ?? `reset ${stream.rstCode}`);
}

test('logging in goes through the launcher as a process of its own would', async () => {
  const client = new LoginServiceClient(
    `localhost:${tls.port}`,
    credentials.createSsl(Buffer.from(serverCa.certificate)),
  );
  let launch = (): void => undefined;
  launched = new Promise((resolve) => (launch = resolve));
  // Whoever waits is told so.
  const { stages, result } = await logIn(client, loginRequest(key, byPassword('alice', password)), { onStage: launch });
  client.close();
  expect(stages).toEqual([LoginStage.LOGIN_STAGE_STARTING, LoginStage.LOGIN_STAGE_QUOTING]);
  expect(result.enclave?.endpoint).toBe(enclave.location.endpoint);
});

test('200 parallel logins: health checks are answered meanwhile, the excess gets RESOURCE_EXHAUSTED before those taken are answered', async () => {
  const client = new LoginServiceClient(`127.0.0.1:${plain.port}`, credentials.createInsecure());
  const health = new HealthClient(`127.0.0.1:${plain.port}`, credentials.createInsecure(), {
    'grpc.use_local_subchannel_pool': 1,
  });
  const check = (): Promise<unknown> => callUnary(health, health.check, { service: '' }, { timeout: 120_000 });
  await check();
  let flooding = true;
  /** Codes, in the order of the answers. */
  const answers: string[] = [];
  const flood = Promise.all(
    Array.from({ length: 200 }, async (_, i) => {
      const secret = i === 0 ? password : 'wrong password';
      answers.push(
        await logIn(client, loginRequest(key, byPassword('alice', secret)), { timeout: 500_000 }).then(
          () => 'logged in',
          (error: RpcError) => `${error.code} ${status[error.grpcStatus]}`,
        ),
      );
    }),
  ).finally(() => (flooding = false));
  let checks = 0;
  for (; flooding; checks++) await check();
  await flood;
  client.close();
  health.close();
  const isBusy = (code: string): boolean => code === 'login.busy RESOURCE_EXHAUSTED';
  const taken = answers.filter((code) => ['login.wrong_credentials UNAUTHENTICATED', 'logged in'].includes(code));
  const busy = answers.filter(isBusy);
  expect(answers.filter((code) => !isBusy(code) && !taken.includes(code))).toEqual([]);
  expect(busy.length).toBeGreaterThan(100);
  expect(taken.length).toBeGreaterThanOrEqual(HASH_QUEUE + 2);
  // Whoever is refused doesn't wait for a hash: the last who was taken is answered after the first who wasn't.
  expect(answers.findIndex(isBusy)).toBeLessThan(answers.lastIndexOf(taken.at(-1)!));
  // Far more often than passwords were hashed: nobody waited in their queue.
  expect(checks).toBeGreaterThan(20);
  await goodLogin();
});

test('frames that are too large are refused, the heap stays below its cap, a good client is answered', async () => {
  await goodLogin();
  // Announce 2 GiB; announce and send what is above the limit.
  const attacks = [frame(Buffer.alloc(1024), { length: 0x7fffffff }), frame(Buffer.alloc(2 * 1024 * 1024))];
  for (const attack of attacks) {
    const session = open();
    const stream = post(session);
    stream.write(attack);
    expect(await grpcStatus(stream)).toBe(String(status.RESOURCE_EXHAUSTED));
    session.destroy();
  }
  // Many at once: Node's HTTP/2 itself cuts a session that holds too much.
  const session = open();
  const results = await Promise.all(
    Array.from({ length: 40 }, (_, i) => {
      const stream = post(session);
      stream.write(attacks[i % 2]);
      return grpcStatus(stream);
    }),
  );
  session.destroy();
  for (const result of results) expect(result).toMatch(/^(8|reset \d+)$/);
  await goodLogin();
});

test('gzip bombs are refused, the heap stays below its cap, a good client is answered', async () => {
  const bomb = gzipSync(Buffer.alloc(256 * 1024 * 1024), { level: 9 });
  expect(bomb.length).toBeLessThan(1024 * 1024);
  const session = open();
  const results = await Promise.all(
    Array.from({ length: 10 }, () => {
      const stream = post(session, { 'grpc-encoding': 'gzip' });
      stream.end(frame(bomb, { compressed: true }));
      return grpcStatus(stream);
    }),
  );
  session.destroy();
  for (const result of results) expect(result).toBe(String(status.RESOURCE_EXHAUSTED));
  await goodLogin();
});

test('HTTP/2 rapid reset: the heap stays below its cap, a good client is answered', async () => {
  for (let round = 0; round < 5; round++) {
    // An address from where so many calls are given up opens no connection for a while.
    const session = open(`127.0.0.${round + 2}`);
    for (let i = 0; i < 2_000 && !session.destroyed; i++) {
      const stream = post(session, { ':path': '/licensing.v1.LoginService/GetTokenKeys' });
      stream.end(frame(Buffer.alloc(0)));
      stream.close(constants.NGHTTP2_CANCEL);
      if (i % 200 === 0) await new Promise(setImmediate);
    }
    await goodLogin();
    session.destroy();
  }
});

test('1,000 half-open TLS handshakes: the service is unaffected', async () => {
  const sockets: Socket[] = [];
  const client = new HealthClient(`localhost:${tls.port}`, credentials.createSsl(Buffer.from(serverCa.certificate)));
  try {
    for (let batch = 0; batch < 10; batch++) {
      await Promise.all(
        Array.from({ length: 100 }, async (_, i) => {
          const socket = connect(tls.port, '127.0.0.1');
          sockets.push(socket);
          socket.on('error', () => undefined);
          await once(socket, 'connect');
          // Some say nothing, some begin a ClientHello and never end it.
          if (i % 2 === 0) socket.write(Buffer.from([0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3]));
        }),
      );
    }
    expect(sockets.filter(({ readyState }) => readyState === 'open')).toHaveLength(1000);
    expect(await callUnary(client, client.check, { service: '' }, { timeout: 120_000 })).toEqual({ status: 1 });
    const login = new LoginServiceClient(
      `localhost:${tls.port}`,
      credentials.createSsl(Buffer.from(serverCa.certificate)),
    );
    await logIn(login, loginRequest(key, byPassword('alice', password)));
    login.close();
  } finally {
    for (const socket of sockets) socket.destroy();
    client.close();
  }
});

test('the programs logged, at the lowest level, no password, no token and no key', async () => {
  for (const log of [plain.log(), tls.log()]) {
    expect(log).toContain('logged in');
    expect(log).not.toContain(password);
    expect(log).not.toMatch(/eyJ[A-Za-z0-9_-]{10}|PRIVATE KEY|\$2b\$/);
  }
});

test('a program whose settings are wrong says which, shows none of their content, and ends with 2', async () => {
  await writeFile(join(files.folder, 'bad.json'), '{"keys":[{"d":"very secret"}]}');
  const settings = {
    ...files.settings,
    LISTEN: 'http://127.0.0.1:0',
    CLIENT_CA_KEY_FILE: join(files.folder, 'ca.key'),
    CLIENT_CA_CERTIFICATE_FILE: join(files.folder, 'ca.crt'),
    LAUNCHER: 'process',
    LAUNCHER_ADDRESS: 'unix:/none',
  };
  const attempt = (changes: Record<string, string>): Promise<string> =>
    startProgram('login', { ...settings, ...changes }).then(
      () => 'started',
      (error: Error) => error.message,
    );
  const reasons = await Promise.all([
    attempt({ TOKEN_KEYS_FILE: join(files.folder, 'bad.json') }),
    attempt({ TOKEN_KEYS_FILE: '/nowhere' }),
    attempt({ CLIENT_CA_KEY_FILE: join(files.folder, 'server.key') }),
    attempt({ LAUNCHER: 'other', TRUST_DOMAIN: '-x' }),
    attempt({ LISTEN: 'https://127.0.0.1:0' }),
  ]);
  const named = ['TOKEN_KEYS_FILE', 'TOKEN_KEYS_FILE', 'CLIENT_CA_KEY_FILE', 'TRUST_DOMAIN', 'TLS_KEY_FILE'];
  for (const [i, reason] of reasons.entries()) {
    expect(reason).toContain('ended with 2');
    expect(reason).toContain(named[i]);
    expect(reason).not.toContain('very secret');
  }
});
