import { once } from 'node:events';
import { connect as connectHttp2 } from 'node:http2';
import type { ClientHttp2Session, ClientHttp2Stream, Settings } from 'node:http2';
import { connect as connectTcp, createServer } from 'node:net';
import type { AddressInfo, Server, Socket } from 'node:net';
import { connect } from '../../client/index';
import { EnclaveServiceService } from '../../proto/gen/licensing/v1/enclave';
import { TrustedProxies } from '../../runtime/rpc/peer';
import { TestClock } from '../support/clock';
import { makeClient, startEnclaveFixture } from '../support/enclave';
import type { EnclaveFixture } from '../support/enclave';
import { stalled } from '../support/eventually';
import { connectUnchecked, isServed } from '../support/session-client';

/** Good clients come from 127.0.0.1. */
const STRANGER = '127.0.0.2';
/** More than an enclave has room for of one address, and more than it ever had of all who don't speak. */
const FLOOD = 400;

let fixture: EnclaveFixture;
let behindProxy: EnclaveFixture;
const sockets: Socket[] = [];
const sessions: ClientHttp2Session[] = [];
const servers: Server[] = [];
beforeAll(async () => {
  // It stands: no handshake ends by its time.
  fixture = await startEnclaveFixture({ clock: new TestClock() });
  behindProxy = await startEnclaveFixture({ settings: { TRUSTED_PROXIES: new TrustedProxies('127.0.0.0/8') } });
});
afterEach(() => {
  for (const socket of sockets.splice(0)) socket.destroy();
  for (const session of sessions.splice(0)) session.destroy();
  for (const server of servers.splice(0)) server.close();
});
afterAll(() => Promise.all([fixture.stop(), behindProxy.stop()]));

/** A connection that says nothing; resolves once it is accepted, whatever becomes of it. */
async function silent(port: number, localAddress: string): Promise<Socket> {
  const socket = connectTcp({ port, host: '127.0.0.1', localAddress });
  sockets.push(socket);
  socket.on('error', () => undefined);
  socket.resume();
  await once(socket, 'connect').catch(() => undefined);
  return socket;
}

/** Until the enclave has taken so many connections that it closed some: connecting alone is the kernel's doing. */
async function flood(port: number, localAddress = STRANGER, first = Buffer.alloc(0)): Promise<void> {
  const strangers: Socket[] = [];
  for (let i = 0; i < FLOOD; i += 50)
    await Promise.all(
      Array.from({ length: 50 }, async () => {
        const socket = await silent(port, localAddress);
        strangers.push(socket);
        if (first.length > 0) socket.write(first);
      }),
    );
  const closed = (): number => strangers.filter(({ destroyed }) => destroyed).length;
  await stalled(closed);
  if (closed() < FLOOD / 4) throw new Error(`expected the enclave to close ${FLOOD / 4} of ${FLOOD}, got ${closed()}`);
}

/** Between a client and the enclave: holds each piece of what either side says until a flood of strangers has come in between. */
async function slowly(port: number, between: () => Promise<void>): Promise<number> {
  const server = createServer((inside) => {
    const outside = connectTcp({ port, host: '127.0.0.1' });
    sockets.push(inside, outside);
    for (const [one, other] of [
      [inside, outside],
      [outside, inside],
    ] as const) {
      one.on('error', () => other.destroy());
      one.on('close', () => other.destroy());
      let before = Promise.resolve();
      one.on('data', (bytes: Buffer) => {
        before = before.then(between).then(() => void other.write(bytes));
      });
    }
  });
  servers.push(server);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return (server.address() as AddressInfo).port;
}

/** A record that announces 512 bytes of a handshake, and brings none. */
const HALF_SPOKEN = Buffer.from([22, 3, 1, 2, 0]);

test.each([
  ['say nothing', Buffer.alloc(0)],
  ['have begun to speak', HALF_SPOKEN],
])(
  'thousands of connections of a stranger that %s come between each two steps of a slow handshake: it ends',
  async (_title, first) => {
    const port = fixture.enclave.ports.tls as number;
    let floods = 0;
    // Once everything has been said that a handshake needs, floods prove nothing more.
    const slow = await slowly(port, async () => {
      if (floods++ < 3) await flood(port, STRANGER, first);
    });
    expect(await isServed(connectUnchecked(await makeClient(fixture), slow))).toBe(true);
    expect(floods).toBeGreaterThanOrEqual(3);
  },
);

test('whoever has begun to speak makes no room for silent ones, not even of their own address', async () => {
  const port = fixture.enclave.ports.tls as number;
  const slow = await slowly(port, () => Promise.resolve());
  const handshake = connectTcp(slow, '127.0.0.1');
  sockets.push(handshake);
  handshake.write(HALF_SPOKEN);
  await once(handshake, 'connect');
  await flood(port, '127.0.0.1');
  let closed = false;
  handshake.once('close', () => (closed = true));
  await flood(port, '127.0.0.1');
  expect(closed).toBe(false);
});

test('of one address no more than its share is kept', async () => {
  const port = fixture.enclave.ports.tls as number;
  await flood(port);
  const open = (): number => sockets.filter(({ destroyed }) => !destroyed).length;
  await stalled(open);
  expect(open()).toBe(64);
});

async function http2({ enclave }: EnclaveFixture, localAddress: string): Promise<ClientHttp2Session> {
  const options: { localAddress: string; settings?: Settings } = { localAddress };
  const session = connectHttp2(`http://127.0.0.1:${enclave.ports.listen}`, options);
  sessions.push(session);
  session.on('error', () => undefined);
  await once(session, 'remoteSettings');
  return session;
}

function tunnel(session: ClientHttp2Session, headers: Record<string, string> = {}): ClientHttp2Stream {
  const stream = session.request({
    ':method': 'POST',
    ':path': EnclaveServiceService.tunnel.path,
    'content-type': 'application/grpc',
    te: 'trailers',
    ...headers,
  });
  stream.on('error', () => undefined);
  stream.resume();
  return stream;
}

/** Until the enclave has ended its side: a stranger need not end theirs. */
const isOpen = (stream: ClientHttp2Stream): boolean => !stream.readableEnded && !stream.destroyed;

test('a connection carries so many tunnels and no more, and one of another address is served through them all', async () => {
  const refused: string[] = [];
  const streams: ClientHttp2Stream[] = [];
  for (let i = 0; i < 4; i++) {
    const session = await http2(fixture, STRANGER);
    for (let n = 0; n < 50; n++) {
      const stream = tunnel(session);
      for (const event of ['response', 'trailers'])
        stream.on(event, (headers: Record<string, string>) => {
          if (headers['sls-reason'] !== undefined) refused.push(headers['sls-reason']);
        });
      streams.push(stream);
    }
    await stalled(() => refused.length);
    expect(refused).toHaveLength((i + 1) * 18);
  }
  expect(new Set(refused)).toEqual(new Set(['enclave.tunnels']));
  // Of an address there is room for as many handshakes by tunnels as by connections.
  const open = (): number => streams.filter(isOpen).length;
  await stalled(open);
  expect(open()).toBeLessThanOrEqual(64);
  const connection = await connect(fixture.trust, await fixture.session({ tunnel: true }));
  connection.close();
});

test("behind a trusted proxy handshakes are the callers' whom it names: a stranger's tunnels end only the stranger's", async () => {
  const proxy = await http2(behindProxy, '127.0.0.1');
  const good = tunnel(proxy, { 'x-forwarded-for': '203.0.113.5' });
  await once(good, 'response');
  const streams = Array.from({ length: 300 }, () => tunnel(proxy, { 'x-forwarded-for': '198.51.100.7' }));
  const open = (): number => streams.filter(isOpen).length;
  await stalled(open);
  expect(open()).toBe(64);
  expect(isOpen(good)).toBe(true);
});
