import { Metadata } from '@grpc/grpc-js';
import { callerAddress, subscriberOf, TrustedProxies } from '../../../runtime/rpc/peer';

function caller(peer: string, forwarded: string[], proxies = ''): string {
  const metadata = new Metadata();
  for (const value of forwarded) metadata.add('x-forwarded-for', value);
  return callerAddress({ peer, metadata }, new TrustedProxies(proxies));
}

test.each([
  ['192.0.2.1:50000', '192.0.2.1'],
  ['::1:50000', '::1'],
  ['2001:db8::1:8080', '2001:db8::1'],
  ['[2001:db8::1]:50000', '2001:db8::1'],
  ['::ffff:192.0.2.1:50000', '192.0.2.1'],
  ['[::ffff:192.0.2.1]:50000', '192.0.2.1'],
  ['unknown', 'local'],
  ['', 'local'],
])('a connection from %s is one of %s', (peer, address) => {
  expect(caller(peer, [])).toBe(address);
});

const PROXIES = '10.0.0.0/8 ::1, fd00::/8';

test.each<[string, string, string[], string]>([
  ['of nobody is believed without a proxy', '192.0.2.1:1', ['203.0.113.1'], '192.0.2.1'],
  ['counts behind a proxy', '10.0.0.1:1', ['203.0.113.1'], '203.0.113.1'],
  ['counts from its right end', '10.0.0.1:1', ['198.51.100.1, 203.0.113.1'], '203.0.113.1'],
  ['goes on over proxies alone', '10.0.0.1:1', ['198.51.100.1, 203.0.113.1, 10.2.2.2, fd00::1'], '203.0.113.1'],
  ['may come in pieces', '10.0.0.1:1', ['198.51.100.1', '203.0.113.1, 10.2.2.2'], '203.0.113.1'],
  ['may have ports and brackets', '10.0.0.1:1', ['[2001:db8::5]:443, 10.2.2.2:80'], '2001:db8::5'],
  ['that is no address ends the way at its proxy', '10.0.0.1:1', ['203.0.113.1, unknown, 10.2.2.2'], '10.2.2.2'],
  ['of proxies alone is the first of them', '10.0.0.1:1', ['10.3.3.3, 10.2.2.2'], '10.3.3.3'],
  ['of a thousand hops is cut', '10.0.0.1:1', [Array<string>(1000).fill('10.2.2.2').join(',')], '10.2.2.2'],
  ['counts for IPv4 inside IPv6', '[::ffff:10.0.0.1]:1', ['::ffff:203.0.113.1'], '203.0.113.1'],
])('X-Forwarded-For %s', (_title, peer, forwarded, address) => {
  expect(caller(peer, forwarded, _title.startsWith('of nobody') ? '' : PROXIES)).toBe(address);
});

test.each(['x', '10.0.0.0/33', '10.0.0.0/', '::/129', '10.0.0.0/8/8', '10.0.0'])(
  '%s is no network of proxies',
  (text) => {
    expect(() => new TrustedProxies(text)).toThrow(TypeError);
  },
);

test.each([
  ['::ffff:192.0.2.1', '192.0.2.1'],
  ['192.0.2.1', '192.0.2.1'],
  ['local', 'local'],
  ['2001:db8:1:2:3:4:5:6', '2001:db8:1:2::/64'],
  ['2001:db8::1', '2001:db8:0:0::/64'],
  ['2001:0db8::1', '2001:db8:0:0::/64'],
  ['::1', '0:0:0:0::/64'],
  ['fe80::1%eth0', 'fe80:0:0:0::/64'],
])('%s belongs to the subscriber %s', (address, subscriber) => {
  expect(subscriberOf(address)).toBe(subscriber);
});
