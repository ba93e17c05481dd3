import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { connect, createServer } from 'node:tls';
import type { SecureVersion, TLSSocket } from 'node:tls';
import { channelBinding } from '../../../runtime/rpc/channel-binding';
import { makeAuthority } from '../../support/authority';

let authority: { certificate: string; privateKey: string };
const cleanups: Array<() => void> = [];

beforeAll(async () => void (authority = await makeAuthority('server', { usages: 1 })));
afterEach(() => cleanups.splice(0).forEach((clean) => clean()));

/** Both ends of one TLS session. */
async function session(maxVersion: SecureVersion): Promise<{ client: TLSSocket; server: TLSSocket }> {
  const listener = createServer({ key: authority.privateKey, cert: authority.certificate, maxVersion }).listen(
    0,
    '127.0.0.1',
  );
  cleanups.push(() => void listener.close());
  await once(listener, 'listening');
  const accepted = once(listener, 'secureConnection') as Promise<[TLSSocket]>;
  const { port } = listener.address() as AddressInfo;
  const client = connect({ host: '127.0.0.1', port, rejectUnauthorized: false });
  const [[server]] = await Promise.all([accepted, once(client, 'secureConnect')]);
  cleanups.push(() => {
    client.destroy();
    server.destroy();
  });
  return { client, server };
}

test('both ends of a session have one value, which is that of tls-exporter (RFC 9266) and of no other label', async () => {
  const { client, server } = await session('TLSv1.3');
  const exporter = client.exportKeyingMaterial.bind(client) as (
    length: number,
    label: string,
    context?: Buffer,
  ) => Buffer;
  const value = channelBinding(client);
  expect(value).toEqual(channelBinding(server));
  expect(value).toEqual(exporter(32, 'EXPORTER-Channel-Binding'));
  expect(value).toEqual(exporter(32, 'EXPORTER-Channel-Binding', Buffer.alloc(0)));
  expect(value).not.toEqual(exporter(32, 'EXPORTER-channel-binding'));
});

test("another session's value is another one", async () => {
  const [one, two] = [await session('TLSv1.3'), await session('TLSv1.3')];
  expect(channelBinding(one.client)).not.toEqual(channelBinding(two.client));
});

test('TLS 1.2, whose exporter a man in the middle can make agree: refused', async () => {
  const { client } = await session('TLSv1.2');
  expect(() => channelBinding(client)).toThrow('expected TLSv1.3, got TLSv1.2');
});
