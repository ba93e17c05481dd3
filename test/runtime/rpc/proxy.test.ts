import { credentials } from '@grpc/grpc-js';
import { parseAddress } from '../../../runtime/rpc/address';
import { callUnary } from '../../../runtime/rpc/client';
import { channelTo, proxyFor } from '../../../runtime/rpc/proxy';
import { TrustServiceClient } from '../../../proto/gen/licensing/v1/trust';
import { startConnectProxy } from '../../support/connect-proxy';
import { startTrustService } from '../../support/trust-service';

const P = 'http://proxy.test:3128';

/** What curl does, and where it differs (a host of this machine, a port in NO_PROXY) what Go does. */
test.each<[string, Record<string, string>, boolean]>([
  // Which variable is for which scheme.
  ['http://sls.test', { http_proxy: P }, true],
  ['http://sls.test', { HTTP_PROXY: P }, false],
  ['http://sls.test', { https_proxy: P, HTTPS_PROXY: P }, false],
  ['https://sls.test', { https_proxy: P }, true],
  ['https://sls.test', { HTTPS_PROXY: P }, true],
  ['https://sls.test', { http_proxy: P, HTTP_PROXY: P }, false],
  ['http://sls.test', { all_proxy: P }, true],
  ['https://sls.test', { ALL_PROXY: P }, true],
  ['https://sls.test', { grpc_proxy: P }, false],
  ['https://sls.test', { https_proxy: '' }, false],
  ['https://sls.test', { https_proxy: '', HTTPS_PROXY: P }, true],
  // What stays on this machine.
  ['http://localhost', { http_proxy: P }, false],
  ['http://a.localhost', { http_proxy: P }, false],
  ['http://127.0.0.1', { http_proxy: P }, false],
  ['http://127.9.9.9', { http_proxy: P }, false],
  ['https://[::1]', { https_proxy: P }, false],
  ['unix:/run/sls.sock', { http_proxy: P, all_proxy: P }, false],
  // NO_PROXY: upper and lower case, blanks, ports.
  ['https://sls.test', { https_proxy: P, no_proxy: 'sls.test' }, false],
  ['https://sls.test', { https_proxy: P, NO_PROXY: 'sls.test' }, false],
  ['https://sls.test', { https_proxy: P, no_proxy: 'other.test', NO_PROXY: 'sls.test' }, true],
  ['https://sls.test', { https_proxy: P, no_proxy: '', NO_PROXY: 'sls.test' }, false],
  ['https://sls.test', { https_proxy: P, NO_PROXY: 'a.test, sls.test ,b.test' }, false],
  ['https://sls.test', { https_proxy: P, NO_PROXY: 'a.test sls.test' }, false],
  ['https://sls.test', { https_proxy: P, NO_PROXY: 'SLS.Test' }, false],
  ['https://SLS.test', { https_proxy: P, NO_PROXY: 'sls.test' }, false],
  ['https://sls.test:8443', { https_proxy: P, NO_PROXY: 'sls.test:8443' }, false],
  ['https://sls.test', { https_proxy: P, NO_PROXY: 'sls.test:8443' }, true],
  ['https://sls.test', { https_proxy: P, NO_PROXY: '*' }, false],
  ['https://sls.test', { https_proxy: P, NO_PROXY: ' , ' }, true],
  // A name, and what is below it.
  ['https://login.sls.test', { https_proxy: P, NO_PROXY: 'sls.test' }, false],
  ['https://login.sls.test', { https_proxy: P, NO_PROXY: '.sls.test' }, false],
  ['https://login.sls.test', { https_proxy: P, NO_PROXY: '*.sls.test' }, false],
  ['https://sls.test', { https_proxy: P, NO_PROXY: '.sls.test' }, false],
  ['https://sls.test.', { https_proxy: P, NO_PROXY: 'sls.test' }, false],
  ['https://notsls.test', { https_proxy: P, NO_PROXY: 'sls.test' }, true],
  ['https://sls.test.evil', { https_proxy: P, NO_PROXY: 'sls.test' }, true],
  // Addresses and ranges of them.
  ['https://10.1.2.3', { https_proxy: P, NO_PROXY: '10.1.2.3' }, false],
  ['https://10.1.2.3', { https_proxy: P, NO_PROXY: '10.0.0.0/8' }, false],
  ['https://11.1.2.3', { https_proxy: P, NO_PROXY: '10.0.0.0/8' }, true],
  ['https://10.1.2.3', { https_proxy: P, NO_PROXY: '10.1.2.0/24:443' }, false],
  ['https://10.1.2.3', { https_proxy: P, NO_PROXY: '10.0.0.0/33' }, true],
  ['https://10.1.2.3', { https_proxy: P, NO_PROXY: '2.3' }, true],
  ['https://[2001:db8::1]', { https_proxy: P, NO_PROXY: '2001:db8::1' }, false],
  ['https://[2001:db8::1]', { https_proxy: P, NO_PROXY: '[2001:db8::1]:443' }, false],
  ['https://[2001:db8::1]', { https_proxy: P, NO_PROXY: '2001:db8::/32' }, false],
  ['https://[2001:db9::1]', { https_proxy: P, NO_PROXY: '2001:db8::/32' }, true],
])('%s with %j: by the proxy is %s', (address, env, proxied) => {
  expect(proxyFor(parseAddress(address), env)).toEqual(
    proxied ? { host: 'proxy.test', port: 3128, credentials: undefined } : undefined,
  );
});

test.each([
  ['proxy.test:8080', { host: 'proxy.test', port: 8080 }],
  ['http://proxy.test', { host: 'proxy.test', port: 1080 }],
  ['http://proxy.test:80/', { host: 'proxy.test', port: 80 }],
  ['http://ada:p%40ss@proxy.test:1', { host: 'proxy.test', port: 1, credentials: 'ada:p@ss' }],
  ['http://[2001:db8::9]:1', { host: '[2001:db8::9]', port: 1 }],
])('the proxy %s is %j', (text, expected) => {
  expect(proxyFor(parseAddress('https://sls.test'), { https_proxy: text })).toMatchObject(expected);
});

test.each(['socks5://ada:secret@proxy.test:1080', 'https://ada:secret@proxy.test', 'http://ada:secret@:0'])(
  'a proxy that is none of HTTP is refused, and its password not repeated: %s',
  (text) => {
    const refused = (): unknown => proxyFor(parseAddress('https://sls.test'), { HTTPS_PROXY: text });
    expect(refused).toThrowWithCode('config.invalid');
    expect(refused).toThrow(/^HTTPS_PROXY: (?!.*secret)/);
  },
);

test('a call goes by the proxy, and with its password', async () => {
  const [service, proxy] = await Promise.all([startTrustService(), startConnectProxy()]);
  const port = new URL(service.address).port;
  const call = async (env: Record<string, string>): Promise<string[]> => {
    const { target, options } = channelTo(parseAddress(`http://login.sls.test:${port}`), env);
    const client = new TrustServiceClient(target, credentials.createInsecure(), options);
    await callUnary(client, client.getRevocations, {}, { timeout: 30_000 });
    client.close();
    return service.calls.splice(0);
  };
  try {
    expect(await call({ http_proxy: `http://ada:secret@127.0.0.1:${proxy.port}` })).toHaveLength(1);
    expect(proxy.asked).toEqual([
      { target: `login.sls.test:${port}`, authorization: `Basic ${Buffer.from('ada:secret').toString('base64')}` },
    ]);
  } finally {
    await Promise.all([service.stop(), proxy.stop()]);
  }
});
