import { once } from 'node:events';
import { connect as connectTcp } from 'node:net';
import type { Socket } from 'node:net';
import { randomUUID } from 'node:crypto';
import { createAuthority } from '../../licensing/authority/authority';
import { connect } from '../../client/index';
import { makeIdentity } from '../../enclave/identity';
import { TlsEndpoint } from '../../enclave/tls';
import { makeClient, startEnclaveFixture } from '../support/enclave';
import type { EnclaveFixture } from '../support/enclave';
import { TRUST_DOMAIN } from '../support/evidence';
import { connectUnchecked, isServed } from '../support/session-client';
import { TestClock } from '../support/clock';

let fixture: EnclaveFixture;
let port: number;
beforeAll(async () => {
  fixture = await startEnclaveFixture();
  port = fixture.enclave.ports.tls as number;
});
afterAll(() => fixture.stop());

describe('client certificates', () => {
  test('of this user: served', async () => {
    expect(await isServed(connectUnchecked(await makeClient(fixture), port))).toBe(true);
  });

  test('of another user: refused', async () => {
    expect(await isServed(connectUnchecked(await makeClient(fixture, { user: randomUUID() }), port))).toBe(false);
  });

  test('of a user whose id begins as this one: refused', async () => {
    expect(await isServed(connectUnchecked(await makeClient(fixture, { user: `${fixture.user}0` }), port))).toBe(false);
  });

  test('expired: refused', async () => {
    const now = new Date(Date.now() - 7_200_000);
    expect(await isServed(connectUnchecked(await makeClient(fixture, { now }), port))).toBe(false);
  });

  test('of another authority of the same name: refused', async () => {
    const authority = await createAuthority({ commonName: 'client CA', trustDomain: TRUST_DOMAIN, years: 1 });
    expect(await isServed(connectUnchecked(await makeClient(fixture, { authority }), port))).toBe(false);
  });

  test('none at all: refused', async () => {
    expect(await isServed(connectUnchecked({}, port))).toBe(false);
  });

  test("somebody else's certificate without its key: no handshake", async () => {
    const [one, two] = [await makeClient(fixture), await makeClient(fixture)];
    expect(() =>
      connectUnchecked({ clientKey: one.clientKey, clientCertificates: two.clientCertificates }, port),
    ).toThrow(/key values mismatch/);
  });
});

describe('the handshake', () => {
  test('TLS 1.2 is refused', async () => {
    const socket = connectUnchecked(await makeClient(fixture), port, { maxVersion: 'TLSv1.2' });
    const [error] = (await once(socket, 'error')) as [NodeJS.ErrnoException];
    expect(error.code).toBe('ERR_SSL_TLSV1_ALERT_PROTOCOL_VERSION');
  });

  test('another protocol than HTTP/2 is refused', async () => {
    const client = await makeClient(fixture);
    expect(await isServed(connectUnchecked(client, port, { ALPNProtocols: [] }))).toBe(false);
    expect(await isServed(connectUnchecked(client, port, { ALPNProtocols: ['http/1.1'] }))).toBe(false);
  });

  test('connect twice with a session ticket: the second is a full handshake', async () => {
    const client = await makeClient(fixture);
    const tickets: Buffer[] = [];
    const first = connectUnchecked(client, port);
    first.on('session', (ticket) => tickets.push(ticket));
    await once(first, 'secureConnect');
    // The server's tickets come before its first frame of HTTP/2.
    await once(first, 'data');
    const stored = tickets.at(-1) ?? first.getSession();
    first.destroy();
    const second = connectUnchecked(client, port, { session: stored });
    await once(second, 'secureConnect');
    expect(second.isSessionReused()).toBe(false);
    // Empty after a resumption: there would be nothing to compare.
    expect(second.getPeerX509Certificate()?.raw.length).toBeGreaterThan(0);
    second.destroy();
  });

  test('bytes that are no TLS close the connection', async () => {
    const socket = connectTcp(port, '127.0.0.1');
    socket.write('GET / HTTP/1.1\r\n\r\n');
    socket.resume();
    await once(socket, 'close');
  });

  test('one that does not end in time is closed, even while bytes come', async () => {
    const clock = new TestClock();
    const identity = await makeIdentity(TRUST_DOMAIN);
    const clients = {
      clientRoots: fixture.clientAuthority.certificate,
      trustDomain: TRUST_DOMAIN,
      user: fixture.user,
      clock,
    };
    const endpoint = new TlsEndpoint({ identity, clients, onConnection: () => undefined });
    const { createServer } = await import('node:net');
    const server = createServer((socket) => endpoint.accept(socket, '127.0.0.1')).listen(0, '127.0.0.1');
    await once(server, 'listening');
    const socket = connectTcp((server.address() as { port: number }).port, '127.0.0.1');
    socket.on('error', () => undefined);
    // A record that announces 512 bytes, one by one.
    socket.write(Buffer.from([22, 3, 1, 2, 0]));
    const closed = once(socket, 'close');
    await clock.untilWaiting();
    for (let i = 0; i < 10; i++) {
      socket.write(Buffer.from([1]));
      await clock.advance(999);
      expect(clock.waits).toHaveLength(1);
    }
    await clock.advance(10);
    await closed;
    server.close();
  });
});

test('1,000 half-open TLS handshakes: service unaffected', async () => {
  const idle: Socket[] = [];
  for (let i = 0; i < 1000; i++) {
    const socket = connectTcp(port, '127.0.0.1');
    socket.on('error', () => undefined);
    idle.push(socket);
  }
  await Promise.all(
    idle.map((socket) => (socket.connecting ? once(socket, 'connect').catch(() => undefined) : undefined)),
  );
  const connection = await connect(fixture.trust, await fixture.session());
  connection.close();
  for (const socket of idle) socket.destroy();
});
