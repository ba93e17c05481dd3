import { once } from 'node:events';
import { connect as connectHttp2, constants } from 'node:http2';
import type { ClientHttp2Session, ClientHttp2Stream, Settings } from 'node:http2';
import { credentials, Metadata, status } from '@grpc/grpc-js';
import type { CallContext } from '../../../runtime/rpc/call';
import { callUnary } from '../../../runtime/rpc/client';
import { RpcError } from '../../../runtime/rpc/errors';
import { unary } from '../../../runtime/rpc/handlers';
import { TrustedProxies } from '../../../runtime/rpc/peer';
import { startServer } from '../../../runtime/rpc/server';
import type { RunningServer, ServerOptions } from '../../../runtime/rpc/server';
import { TrustServiceClient, TrustServiceService } from '../../../proto/gen/licensing/v1/trust';
import { TestClock } from '../../support/clock';
import { eventually, stalled } from '../../support/eventually';

/** Good clients come from 127.0.0.1. */
const STRANGER = '127.0.0.2';
/** Costs a statement of the database's, as its rule says. */
const METHOD = TrustServiceService.getRevocations.path;
const EMPTY = Buffer.alloc(5);

const running: RunningServer[] = [];
const sessions: ClientHttp2Session[] = [];
const clients: TrustServiceClient[] = [];
afterEach(async () => {
  for (const session of sessions.splice(0)) session.destroy();
  for (const client of clients.splice(0)) client.close();
  await Promise.all(running.splice(0).map((server) => server.stop(0)));
});

/** Calls that are at work, until the test lets one go: whose they are, in the order in which they began. */
class Work {
  readonly began: string[] = [];
  readonly open: Array<() => void> = [];

  async handle({ metadata }: CallContext): Promise<{ revocations: string }> {
    this.began.push(String(metadata.get('who')[0]));
    await new Promise<void>((resolve) => this.open.push(resolve));
    return { revocations: 'done' };
  }
}

async function serve(work: Work, options: Partial<ServerOptions> = {}): Promise<RunningServer> {
  const implementation = {
    getTrustBundle: unary(() => Promise.resolve({ bundle: '' })),
    getRevocations: unary((_request: object, context: CallContext) => work.handle(context)),
  };
  const server = await startServer({
    address: { scheme: 'http', host: '127.0.0.1', port: 0 },
    services: [{ definition: TrustServiceService, implementation }],
    ...options,
  });
  running.push(server);
  return server;
}

async function stranger({ port }: RunningServer, localAddress = STRANGER): Promise<ClientHttp2Session> {
  const options: { localAddress: string; settings?: Settings } = { localAddress };
  const session = connectHttp2(`http://127.0.0.1:${port}`, options);
  sessions.push(session);
  const closed = once(session, 'close').then(() => Promise.reject(new Error('the server closed it')));
  closed.catch(() => undefined);
  session.on('error', () => undefined);
  await Promise.race([once(session, 'remoteSettings'), closed]);
  return session;
}

function call(session: ClientHttp2Session, who: string, headers: Record<string, string> = {}): ClientHttp2Stream {
  const stream = session.request({
    ':method': 'POST',
    ':path': METHOD,
    'content-type': 'application/grpc',
    te: 'trailers',
    who,
    ...headers,
  });
  stream.on('error', () => undefined);
  stream.resume();
  stream.end(EMPTY);
  return stream;
}

function good({ port }: RunningServer, headers: Record<string, string> = {}): Promise<string> {
  const client = new TrustServiceClient(`127.0.0.1:${port}`, credentials.createInsecure(), {
    'grpc.use_local_subchannel_pool': 1,
  });
  clients.push(client);
  const metadata = new Metadata();
  metadata.set('who', 'good');
  for (const [name, value] of Object.entries(headers)) metadata.set(name, value);
  return callUnary(client, client.getRevocations, {}, { timeout: 120_000, metadata }).then(
    ({ revocations }) => revocations,
    ({ code }: { code: string }) => code,
  );
}

const streamsOf = (session: ClientHttp2Session, count: number): ClientHttp2Stream[] =>
  Array.from({ length: count }, (_, i) => call(session, `stranger ${i}`));

test('thousands of calls that are reset at once: what is at work counts until it ends, the rest is never begun, and one of another address is', async () => {
  const work = new Work();
  const server = await serve(work, { turns: { atOnce: 5, ofOne: 4 }, limits: { misuses: 100_000 } });
  for (let connection = 0; connection < 4; connection++) {
    const session = await stranger(server);
    const streams = streamsOf(session, 500);
    await eventually(() => work.began.length >= 4);
    for (const stream of streams) stream.close(constants.NGHTTP2_CANCEL);
    await Promise.all(streams.map((stream) => (stream.destroyed ? undefined : once(stream, 'close'))));
  }
  await stalled(() => work.began.length);
  expect(work.began).toHaveLength(4);
  const answer = good(server);
  await stalled(() => work.began.length);
  expect(work.began).toContain('good');
  expect(work.began).toHaveLength(5);
  // What nobody waits for is gone: the strangers' work that ends is followed by none.
  for (const end of work.open) end();
  expect(await answer).toBe('done');
  await stalled(() => work.began.length);
  expect(work.began).toHaveLength(5);
});

test('calls that wait take turns by address: one of another address waits for one of the hundreds before it', async () => {
  const work = new Work();
  const server = await serve(work, { turns: { atOnce: 1, ofOne: 1 } });
  streamsOf(await stranger(server), 300);
  await stalled(() => work.began.length);
  expect(work.began).toHaveLength(1);
  const answer = good(server);
  await stalled(() => work.began.length);
  for (let ended = 0; !work.began.includes('good'); ended++) {
    await eventually(() => work.open.length > ended);
    work.open[ended]!();
    await eventually(() => work.began.length > ended + 1);
  }
  expect(work.began.indexOf('good')).toBeLessThanOrEqual(2);
  await eventually(() => work.open.length === work.began.length);
  work.open.at(-1)!();
  expect(await answer).toBe('done');
});

test('what waits is bounded: one more of the address that has the most is RESOURCE_EXHAUSTED, one of another address waits', async () => {
  const work = new Work();
  const server = await serve(work, { turns: { atOnce: 1, ofOne: 1, waiting: 10 } });
  const statuses: string[] = [];
  for (const stream of streamsOf(await stranger(server), 50)) {
    stream.on('response', (headers) => headers['sls-reason'] && statuses.push(String(headers['sls-reason'])));
    stream.on('trailers', (headers) => headers['sls-reason'] && statuses.push(String(headers['sls-reason'])));
  }
  await stalled(() => statuses.length);
  expect(statuses.length).toBeGreaterThanOrEqual(39);
  const answer = good(server);
  await stalled(() => statuses.length);
  expect(statuses).toHaveLength(40);
  expect(new Set(statuses)).toEqual(new Set(['rpc.busy']));
  for (let ended = 0; !work.began.includes('good'); ended++) {
    await eventually(() => work.open.length > ended);
    work.open[ended]!();
    await eventually(() => work.began.length > ended + 1);
  }
  await eventually(() => work.open.length === work.began.length);
  work.open.at(-1)!();
  expect(await answer).toBe('done');
});

test('behind a trusted proxy turns go by the address that it names; what anybody else names is the same as nothing', async () => {
  for (const [proxies, expected] of [
    ['127.0.0.0/8', 2],
    ['', 51],
  ] as const) {
    const work = new Work();
    const server = await serve(work, { turns: { atOnce: 1, ofOne: 1 }, proxies: new TrustedProxies(proxies) });
    const session = await stranger(server, '127.0.0.1');
    for (let i = 0; i < 50; i++) call(session, `stranger ${i}`, { 'x-forwarded-for': '198.51.100.7' });
    await stalled(() => work.began.length);
    expect(work.began).toHaveLength(1);
    const answer = good(server, { 'x-forwarded-for': '203.0.113.5' });
    await stalled(() => work.began.length);
    for (let ended = 0; !work.began.includes('good'); ended++) {
      await eventually(() => work.open.length > ended);
      work.open[ended]!();
      await eventually(() => work.began.length > ended + 1);
    }
    expect(work.began.indexOf('good') + 1).toBeGreaterThanOrEqual(expected - 1);
    expect(work.began.indexOf('good')).toBeLessThanOrEqual(expected);
    await eventually(() => work.open.length === work.began.length);
    work.open.at(-1)!();
    expect(await answer).toBe('done');
  }
});

test('a caller who is known takes turns with their own calls, from whichever addresses, and leaves the turn of their address', async () => {
  const work = new Work();
  const handle = work.handle.bind(work);
  work.handle = async (context) => {
    await context.takeTurnOf(String(context.metadata.get('account')[0] ?? 'nobody'));
    return handle(context);
  };
  const server = await serve(work, { turns: { atOnce: 1, ofOne: 1 } });
  // Far more than one account may have at work, from two addresses.
  for (const address of ['127.0.0.2', '127.0.0.3']) {
    const session = await stranger(server, address);
    for (let i = 0; i < 20; i++) call(session, `mallory ${i}`, { account: 'mallory' });
  }
  await stalled(() => work.began.length);
  expect(work.began).toHaveLength(8);
  const answer = good(server, { account: 'alice' });
  await stalled(() => work.began.length);
  expect(work.began).toContain('good');
  await eventually(() => work.open.length === 9);
  work.open[8]!();
  expect(await answer).toBe('done');
});

test('an address that gives up call after call loses its connections, all of them; one behind a proxy loses only its calls', async () => {
  const work = new Work();
  const clock = new TestClock();
  const server = await serve(work, { limits: { misuses: 100 }, clock });
  const session = await stranger(server);
  const besides = await stranger(server);
  const other = await stranger(server, '127.0.0.3');
  const kept = call(other, 'other');
  await eventually(() => work.began.includes('other'));
  const resetAll = (on: ClientHttp2Session, headers = {}): void => {
    for (let i = 0; i < 150 && !on.destroyed && !on.closed; i++) {
      const stream = call(on, `stranger ${i}`, headers);
      setImmediate(() => stream.close(constants.NGHTTP2_CANCEL));
    }
  };
  resetAll(session);
  await eventually(() => session.destroyed && besides.destroyed);
  // It is the address that is over its measure: another connection of it doesn't help, until some time has passed.
  const again = await stranger(server).catch(() => undefined);
  await eventually(() => again === undefined || again.destroyed);
  await clock.advance(5_000);
  const late = await stranger(server);
  await new Promise<void>((resolve) => late.ping(() => resolve()));
  expect(late.destroyed).toBe(false);
  expect(other.destroyed).toBe(false);
  expect(kept.closed).toBe(false);

  const behind = await serve(new Work(), { limits: { misuses: 100 }, proxies: new TrustedProxies('127.0.0.0/8') });
  const proxy = await stranger(behind, '127.0.0.1');
  for (let i = 0; i < 3; i++) {
    resetAll(proxy, { 'x-forwarded-for': '198.51.100.7' });
    await new Promise<void>((resolve) => proxy.ping(() => resolve()));
  }
  expect(proxy.destroyed).toBe(false);
});

describe('an address whose calls are refused, one after the other, for who it is', () => {
  class Refusing extends Work {
    override async handle(context: CallContext): Promise<{ revocations: string }> {
      if (context.metadata.get('who')[0] === 'good') return { revocations: 'done' };
      this.began.push('refused');
      return Promise.reject(new RpcError('login.nonce_used', status.UNAUTHENTICATED, 'sent before'));
    }
  }
  const refuse = async (session: ClientHttp2Session, headers = {}): Promise<void> => {
    for (let i = 0; i < 150 && !session.destroyed && !session.closed; i++) {
      const stream = call(session, 'mallory', headers);
      // Also where the connection is closed.
      if (!stream.destroyed) await once(stream, 'close').catch(() => undefined);
    }
  };

  test('loses its connections, and opens no other for a while; others are answered', async () => {
    const work = new Refusing();
    // It stands: nothing leaks from the count, however slow the machine is.
    const server = await serve(work, { limits: { misuses: 100 }, clock: new TestClock() });
    await refuse(await stranger(server));
    // The next may be under way when one more than that is counted.
    expect(work.began.length).toBeGreaterThan(100);
    expect(work.began.length).toBeLessThan(110);
    expect(await stranger(server).catch(() => 'closed')).toBe('closed');
    expect(await good(server)).toBe('done');
  });

  test('behind a proxy is refused before anything is done for it, and the connection stays', async () => {
    const work = new Refusing();
    const server = await serve(work, {
      limits: { misuses: 100 },
      proxies: new TrustedProxies('127.0.0.0/8'),
      clock: new TestClock(),
    });
    const proxy = await stranger(server, '127.0.0.1');
    await refuse(proxy, { 'x-forwarded-for': '198.51.100.7' });
    expect(work.began.length).toBeLessThan(110);
    expect(proxy.destroyed).toBe(false);
    expect(await good(server, { 'x-forwarded-for': '203.0.113.5' })).toBe('done');
    expect(await good(server, { 'x-forwarded-for': '198.51.100.7' })).toBe('rpc.busy');
  });
});

test('of calls that come at once on a connection few are looked at, whatever comes; a proxy brings those of many', async () => {
  for (const [proxies, expected] of [
    ['', 128],
    ['127.0.0.0/8', 300],
  ] as const) {
    const work = new Work();
    const server = await serve(work, {
      turns: { atOnce: 1_000, ofOne: 1_000 },
      proxies: new TrustedProxies(proxies),
    });
    const session = await stranger(server, '127.0.0.1');
    await new Promise<void>((resolve) => session.ping(() => resolve()));
    streamsOf(session, 300);
    await stalled(() => work.began.length);
    expect(work.began).toHaveLength(expected);
    for (const end of work.open) end();
  }
});
