import { createServer } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import type { AddressInfo, Server, Socket } from 'node:net';
import { credentials, Metadata, status } from '@grpc/grpc-js';
import type { Interceptor, Client } from '@grpc/grpc-js';
import { impatient } from '../../client/patience';
import { fromServiceError } from '../../runtime/rpc/errors';
import type { RpcError } from '../../runtime/rpc/errors';
import { startServer } from '../../runtime/rpc/server';
import { serverStream, unary } from '../../runtime/rpc/handlers';
import type { Implementation } from '../../runtime/rpc/handlers';
import { LoginServiceClient, LoginServiceService } from '../../proto/gen/licensing/v1/login';
import type { LoginServiceServer } from '../../proto/gen/licensing/v1/login';
import { TestClock } from '../support/clock';
import { eventually } from '../support/eventually';

const DEADLINE_MS = 240_000;
const clients: Client[] = [];
const sockets = new Set<Socket>();
let silent: Server;
let silentPort: number;

beforeAll(async () => {
  silent = createServer((socket) => sockets.add(socket.on('error', () => undefined)));
  await new Promise<void>((resolve) => silent.listen(0, '127.0.0.1', resolve));
  silentPort = (silent.address() as AddressInfo).port;
});
afterEach(() => {
  for (const client of clients.splice(0)) client.close();
});
afterAll(() => {
  for (const socket of sockets) socket.destroy();
  silent.close();
});

function open(port: number, clock: TestClock, of: 'service' | 'enclave' = 'service'): LoginServiceClient {
  const channel = (): ReturnType<Client['getChannel']> => client.getChannel();
  const interceptors: Interceptor[] = [impatient({ name: `localhost:${port}`, of, channel, clock })];
  const client = new LoginServiceClient(`127.0.0.1:${port}`, credentials.createInsecure(), { interceptors });
  clients.push(client);
  return client;
}

/** How a call ends that its caller would wait four minutes for. */
function ending(client: LoginServiceClient): Promise<RpcError | 'ok'> {
  return new Promise((resolve) => {
    client.getTokenKeys({}, new Metadata(), { deadline: Date.now() + DEADLINE_MS }, (error) =>
      resolve(error ? fromServiceError(error) : 'ok'),
    );
  });
}

/** What the clock has just ended comes at once: who waits on waits for minutes. */
const now = (ended: Promise<unknown>): Promise<unknown> =>
  Promise.race([ended, sleep(10_000, 'waits', { ref: false })]);

/** A LoginService that answers when it is told to. */
async function slowService(): Promise<{ port: number; calls(): number; answer(): void; stop(): Promise<void> }> {
  const waiting: Array<() => void> = [];
  const wait = (): Promise<void> => new Promise((resolve) => waiting.push(resolve));
  const implementation: Implementation<LoginServiceServer> = {
    login: serverStream(async () => wait()),
    getTokenKeys: unary(async () => {
      await wait();
      return { jwks: '{}' };
    }),
  };
  const server = await startServer({
    address: { scheme: 'http', host: '127.0.0.1', port: 0 },
    services: [{ definition: LoginServiceService, implementation }],
  });
  return {
    port: server.port,
    calls: () => waiting.length,
    answer: () => waiting.forEach((done) => done()),
    stop: () => server.stop(0),
  };
}

test.each([
  ['service', 'service.unreachable'],
  ['enclave', 'connection.timeout'],
] as const)(
  'a port of a %s that accepts and never says anything ends the call 10 s later, in our own words',
  async (of, code) => {
    const clock = new TestClock();
    const before = sockets.size;
    const ended = ending(open(silentPort, clock, of));
    await eventually(() => sockets.size > before);
    await clock.advance(9_999);
    expect(await Promise.race([ended, Promise.resolve('waits')])).toBe('waits');
    await clock.advance(1);
    expect(await now(ended)).toMatchObject({
      code,
      grpcStatus: status.UNAVAILABLE,
      message: `expected a connection to localhost:${silentPort} within 10 s, got none`,
    });
  },
);

test('a service that takes the call and never answers ends it 30 s later', async () => {
  const clock = new TestClock();
  const service = await slowService();
  const ended = ending(open(service.port, clock));
  await eventually(() => service.calls() === 1);
  await clock.advance(29_999);
  expect(await Promise.race([ended, Promise.resolve('waits')])).toBe('waits');
  await clock.advance(1);
  expect(await now(ended)).toMatchObject({
    code: 'service.unreachable',
    grpcStatus: status.DEADLINE_EXCEEDED,
    message: `expected an answer of localhost:${service.port} within 30 s, got none`,
  });
  service.answer();
  await service.stop();
});

test('an answer is waited for once it has begun: a login begins its own at once', async () => {
  const clock = new TestClock();
  const service = await slowService();
  const call = open(service.port, clock).login(
    {
      credential: undefined,
      nonce: Buffer.alloc(0),
      csr: Buffer.alloc(0),
      proof: Buffer.alloc(0),
      includeEventLog: false,
      clientName: '',
      enclave: '',
      oneTimeCode: '',
    },
    new Metadata(),
    { deadline: Date.now() + DEADLINE_MS },
  );
  const ended = new Promise<string>((resolve) => {
    call.on('error', ({ message }) => resolve(message)).on('end', () => resolve('ended by the service'));
    call.resume();
  });
  await new Promise((resolve) => call.once('metadata', resolve));
  await clock.advance(DEADLINE_MS);
  service.answer();
  expect(await ended).toBe('ended by the service');
  await service.stop();
});

test('who sets no deadline waits for as long as there is nothing to say', async () => {
  const clock = new TestClock();
  const service = await slowService();
  const ended = new Promise((resolve) => open(service.port, clock).getTokenKeys({}, resolve));
  await eventually(() => service.calls() === 1);
  await clock.advance(1_000_000);
  service.answer();
  expect(await ended).toBeNull();
  await service.stop();
});

test('what grpc-js says of a port that nobody listens on, and of its deadline, is put in our own words', async () => {
  const gone = createServer();
  await new Promise<void>((resolve) => gone.listen(0, '127.0.0.1', resolve));
  const { port } = gone.address() as AddressInfo;
  await new Promise((resolve) => gone.close(resolve));
  expect(await ending(open(port, new TestClock()))).toMatchObject({
    code: 'service.unreachable',
    message: `no connection to localhost:${port}: connect ECONNREFUSED 127.0.0.1:${port}`,
  });
  const early = new Promise<RpcError>((resolve) => {
    open(silentPort, new TestClock()).getTokenKeys({}, new Metadata(), { deadline: Date.now() + 50 }, (error) =>
      resolve(fromServiceError(error!)),
    );
  });
  expect(await early).toMatchObject({
    code: 'service.unreachable',
    message: `expected a connection to localhost:${silentPort} in time, got none`,
  });
});

test("a service's own refusal passes as it is", async () => {
  const service = await slowService();
  const client = open(service.port, new TestClock());
  const refused = new Promise<RpcError>((resolve) => {
    client.makeUnaryRequest(
      '/licensing.v1.LoginService/Unknown',
      () => Buffer.alloc(0),
      () => undefined,
      {},
      (error) => resolve(fromServiceError(error!)),
    );
  });
  expect(await refused).toMatchObject({ code: 'rpc.unimplemented' });
  await service.stop();
});
