import { once } from 'node:events';
import { connect as connectHttp2 } from 'node:http2';
import type { ClientHttp2Session, ClientHttp2Stream, Settings } from 'node:http2';
import { connect as connectTcp } from 'node:net';
import type { Socket } from 'node:net';
import { credentials, Metadata, status } from '@grpc/grpc-js';
import type { Implementation } from '../../../runtime/rpc/handlers';
import { createAuthority } from '../../../licensing/authority/authority';
import { issueServerCertificate } from '../../../licensing/authority/server';
import { callUnary } from '../../../runtime/rpc/client';
import { bidiStream, unary } from '../../../runtime/rpc/handlers';
import type { PeerLimits } from '../../../runtime/rpc/limits';
import { startServer } from '../../../runtime/rpc/server';
import type { RunningServer, ServerOptions } from '../../../runtime/rpc/server';
import { HealthClient } from '../../../proto/gen/grpc/health/v1/health';
import { EnclaveServiceService } from '../../../proto/gen/licensing/v1/enclave';
import { TestClock } from '../../support/clock';
import { eventually } from '../../support/eventually';
import { LoginServiceClient, LoginServiceService } from '../../../proto/gen/licensing/v1/login';
import type { LoginServiceServer } from '../../../proto/gen/licensing/v1/login';

const CHECK = '/grpc.health.v1.Health/Check';
const WATCH = '/grpc.health.v1.Health/Watch';
let running: RunningServer[] = [];
let sessions: ClientHttp2Session[] = [];
let sockets: Socket[] = [];

afterEach(async () => {
  for (const session of sessions) session.destroy();
  for (const socket of sockets) socket.destroy();
  await Promise.all(running.map((server) => server.stop(0)));
  [running, sessions, sockets] = [[], [], []];
});

async function serve(
  limits?: PeerLimits,
  { services = [], ...options }: Partial<ServerOptions> = {},
): Promise<RunningServer> {
  const address = { scheme: 'http', host: '127.0.0.1', port: 0 } as const;
  const server = await startServer({ address, services, limits, ...options });
  running.push(server);
  return server;
}

/** Good clients come from 127.0.0.1. */
const STRANGER = '127.0.0.2';

async function open(
  { port }: RunningServer,
  options: { localAddress?: string; settings?: Settings } = {},
): Promise<ClientHttp2Session> {
  const session = connectHttp2(`http://127.0.0.1:${port}`, options);
  sessions.push(session);
  session.on('error', () => undefined);
  await once(session, 'remoteSettings');
  return session;
}

function post(session: ClientHttp2Session, path: string): ClientHttp2Stream {
  const stream = session.request({
    ':method': 'POST',
    ':path': path,
    'content-type': 'application/grpc',
    te: 'trailers',
  });
  stream.on('error', () => undefined);
  stream.resume();
  return stream;
}

/** When the server has seen what was sent on a connection: it answers a ping in its turn. */
function seen(session: ClientHttp2Session): Promise<void> {
  return new Promise((resolve, reject) => session.ping((error) => (error ? reject(error) : resolve())));
}

/** A frame's head and a part of what it announces. */
function part(announced: number, sent: number): Buffer {
  const bytes = Buffer.alloc(5 + sent);
  bytes.writeUInt32BE(announced, 1);
  return bytes;
}

async function isAnswered(server: RunningServer): Promise<boolean> {
  const client = new HealthClient(`127.0.0.1:${server.port}`, credentials.createInsecure(), {
    'grpc.use_local_subchannel_pool': 1,
  });
  try {
    return (await callUnary(client, client.check, { service: '' }, { timeout: 120_000 })).status === 1;
  } finally {
    client.close();
  }
}

const stillOpen = (): Socket[] => sockets.filter(({ destroyed }) => !destroyed);
const isOpen = (stream: ClientHttp2Stream): boolean => !stream.closed && !stream.destroyed;

test('requests that never end: the oldest are cut, over all connections together, and a good client is answered', async () => {
  const server = await serve({ requests: 10 });
  const streams: ClientHttp2Stream[] = [];
  for (let connection = 0; connection < 3; connection++) {
    const session = await open(server);
    for (let i = 0; i < 10; i++) {
      const stream = post(session, CHECK);
      stream.write(part(1_000, 900));
      streams.push(stream);
    }
    await seen(session);
  }
  await eventually(() => streams.filter(isOpen).length <= 10);
  expect(streams.map(isOpen)).toEqual([...Array<boolean>(20).fill(false), ...Array<boolean>(10).fill(true)]);
  expect(await isAnswered(server)).toBe(true);
});

test('requests of a stranger that never end make room among themselves: one of another address goes on', async () => {
  const server = await serve({ requests: 10 });
  const good = post(await open(server), CHECK);
  const honest = sessions[0]!;
  good.write(part(10, 5));
  await seen(honest);
  const stranger = await open(server, { localAddress: STRANGER });
  const streams = Array.from({ length: 30 }, () => post(stranger, CHECK));
  for (const stream of streams) stream.write(part(1_000, 900));
  await seen(stranger);
  await eventually(() => streams.filter(isOpen).length <= 9);
  await seen(honest);
  expect(streams.filter(isOpen)).toHaveLength(9);
  expect(isOpen(good)).toBe(true);
});

test('calls of a stranger who reads no answer make room among themselves: a slow one of another address is answered', async () => {
  let began = (): void => undefined;
  const underWay = new Promise<void>((resolve) => (began = resolve));
  let finish = (): void => undefined;
  const finished = new Promise<void>((resolve) => (finish = resolve));
  const implementation = {
    getTokenKeys: unary(async () => {
      began();
      await finished;
      return { jwks: '{}' };
    }),
    login: () => undefined,
  } as unknown as LoginServiceServer;
  const server = await serve(
    { calls: 20 },
    {
      services: [{ definition: LoginServiceService, implementation: implementation as unknown as Implementation }],
    },
  );
  const client = new LoginServiceClient(`127.0.0.1:${server.port}`, credentials.createInsecure());
  const answer = callUnary(client, client.getTokenKeys, {}, { timeout: 120_000 }).then(
    ({ jwks }) => jwks,
    (error: Error) => error.message,
  );
  await underWay;
  const stranger = await open(server, { localAddress: STRANGER, settings: { initialWindowSize: 0 } });
  const streams = Array.from({ length: 100 }, () => post(stranger, CHECK));
  for (const stream of streams) stream.end(part(0, 0));
  await seen(stranger);
  await eventually(() => streams.filter(isOpen).length <= 19);
  finish();
  expect(await answer).toBe('{}');
  expect(streams.filter(isOpen)).toHaveLength(19);
  client.close();
});

test("connections of a stranger that are all at work keep nobody of another address out, and end nobody else's work", async () => {
  const server = await serve({ connections: 10 });
  const good = post(await open(server), WATCH);
  good.end(part(0, 0));
  await once(good, 'data');
  const strangers: ClientHttp2Stream[] = [];
  for (let i = 0; i < 30; i++) {
    const session = await open(server, { localAddress: STRANGER }).catch(() => undefined);
    if (!session || session.destroyed) continue;
    const watch = post(session, WATCH);
    watch.end(part(0, 0));
    await Promise.race([once(watch, 'data'), once(watch, 'close')]).catch(() => undefined);
    strangers.push(watch);
  }
  expect(strangers.filter(isOpen)).toHaveLength(9);
  for (let i = 0; i < 3; i++) expect(await isAnswered(server)).toBe(true);
  expect(isOpen(good)).toBe(true);
});

test('a request that is not there in time is cut', async () => {
  const clock = new TestClock();
  const server = await serve({ requestMs: 200 }, { clock });
  const stream = post(await open(server), CHECK);
  stream.write(part(100, 10));
  let answered = false;
  stream.once('response', () => (answered = true));
  await eventually(() => clock.waits.includes(200));
  await clock.advance(199);
  await seen(sessions[0]!);
  expect(isOpen(stream)).toBe(true);
  const closed = once(stream, 'close');
  await clock.advance(1);
  await closed;
  expect(answered).toBe(false);
  expect(await isAnswered(server)).toBe(true);
});

test('a stream of requests that goes on after its answer is whole is cut, as one that is not there in time', async () => {
  const implementation = { tunnel: bidiStream(() => Promise.resolve()) } as unknown as Implementation;
  const clock = new TestClock();
  const services = [{ definition: EnclaveServiceService, implementation }];
  const server = await serve({ requestMs: 200 }, { services, clock });
  const stream = post(await open(server), EnclaveServiceService.tunnel.path);
  await once(stream, 'end');
  await eventually(() => clock.waits.includes(200));
  const closed = once(stream, 'close');
  await clock.advance(200);
  await closed;
  expect(await isAnswered(server)).toBe(true);
});

test('a request beyond the largest of the server is refused before it is there', async () => {
  const server = await serve();
  const stream = post(await open(server), CHECK);
  stream.write(part(1024 + 1, 10));
  const [headers] = (await once(stream, 'response')) as [Record<string, string>];
  expect(Number(headers['grpc-status'])).toBe(status.RESOURCE_EXHAUSTED);
});

test('connections without work make room for new ones, those with work stay', async () => {
  const server = await serve({ connections: 10 });
  const atWork = await open(server);
  const watch = post(atWork, WATCH);
  watch.end(part(0, 0));
  await once(watch, 'data');
  const unfinished = await open(server);
  post(unfinished, CHECK).write(part(100, 10));
  for (let i = 0; i < 30; i++) {
    await open(server);
    if (i % 10 === 0) expect(await isAnswered(server)).toBe(true);
  }
  const stay = (): ClientHttp2Session[] => sessions.filter(({ closed, destroyed }) => !closed && !destroyed);
  await eventually(() => stay().length <= 10);
  await seen(atWork);
  expect(stay()).toHaveLength(10);
  expect(isOpen(watch)).toBe(true);
  expect(unfinished.destroyed).toBe(true);
});

test('watchers of health are bounded: one more is RESOURCE_EXHAUSTED, and one that goes makes room', async () => {
  const server = await serve();
  const client = new HealthClient(`127.0.0.1:${server.port}`, credentials.createInsecure());
  const watch = async (service: string): Promise<{ end(): void } | number> => {
    const call = client.watch({ service }, new Metadata());
    return new Promise((resolve) => {
      call.on('error', ({ code }: Error & { code?: number }) => resolve(code ?? -1));
      call.once('data', () => resolve({ end: () => call.cancel() }));
    });
  };
  const calls = await Promise.all(Array.from({ length: 64 }, (_, i) => watch(i % 2 ? '' : 'nothing.Here')));
  expect(calls.filter((call) => typeof call === 'number')).toEqual([]);
  expect(await watch('')).toBe(status.RESOURCE_EXHAUSTED);
  (calls[0] as { end(): void }).end();
  await eventually(async () => (await watch('')) !== status.RESOURCE_EXHAUSTED);
  client.close();
});

test('TLS handshakes of a stranger that do not end make room among themselves', async () => {
  const authority = await createAuthority({ commonName: 'server CA', trustDomain: 'sls.test', years: 1 });
  const { certificate, privateKey } = await issueServerCertificate(authority, { hosts: ['localhost'] });
  const tls = { key: Buffer.from(privateKey), certificate: Buffer.from(certificate) };
  const server = await startServer({
    address: { scheme: 'https', host: '127.0.0.1', port: 0 },
    services: [],
    tls,
    limits: { handshakes: 10 },
  });
  running.push(server);
  const knock = async (localAddress: string): Promise<Socket> => {
    const socket = connectTcp({ port: server.port, host: '127.0.0.1', localAddress });
    sockets.push(socket);
    socket.on('error', () => undefined);
    socket.resume();
    await once(socket, 'connect');
    return socket;
  };
  const good = await knock('127.0.0.1');
  for (let i = 0; i < 30; i++) await knock(STRANGER);
  await eventually(() => stillOpen().length <= 10);
  expect(stillOpen()).toHaveLength(10);
  expect(good.destroyed).toBe(false);
});

test('TLS handshakes that do not end: the oldest are closed, the rest in time, and who has finished stays', async () => {
  const clock = new TestClock();
  const authority = await createAuthority({ commonName: 'server CA', trustDomain: 'sls.test', years: 1 });
  const { certificate, privateKey } = await issueServerCertificate(authority, { hosts: ['localhost'] });
  const server = await startServer({
    address: { scheme: 'https', host: '127.0.0.1', port: 0 },
    services: [],
    tls: { key: Buffer.from(privateKey), certificate: Buffer.from(certificate) },
    limits: { handshakes: 10, handshakeMs: 800 },
    clock,
  });
  running.push(server);
  const good = connectHttp2(`https://localhost:${server.port}`, { ca: authority.certificate });
  sessions.push(good);
  await once(good, 'remoteSettings');
  for (let i = 0; i < 30; i++) {
    const socket = connectTcp(server.port, '127.0.0.1');
    sockets.push(socket);
    socket.on('error', () => undefined);
    socket.resume();
    await once(socket, 'connect');
  }
  await eventually(() => stillOpen().length <= 10);
  await clock.advance(799);
  await seen(good);
  expect(stillOpen()).toHaveLength(10);
  await clock.advance(1);
  await eventually(() => stillOpen().length === 0);
  expect(good.destroyed).toBe(false);
  const check = post(good, CHECK);
  check.end(part(0, 0));
  const [headers] = (await once(check, 'response')) as [Record<string, string>];
  expect(headers[':status']).toBe(200);
});
