import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { fetchText } from '../../../runtime/oidc/fetch';
import { startConnectProxy } from '../../support/connect-proxy';
import type { ConnectProxy } from '../../support/connect-proxy';

const provider = createServer((request, response) => {
  void (async () => {
    let body = '';
    for await (const chunk of request) body += String(chunk);
    response.end(JSON.stringify({ method: request.method, host: request.headers.host, body }));
  })();
});
let proxy: ConnectProxy;
let port: number;
beforeAll(async () => {
  proxy = await startConnectProxy();
  provider.listen(0, '127.0.0.1');
  await once(provider, 'listening');
  ({ port } = provider.address() as AddressInfo);
  process.env['http_proxy'] = `http://127.0.0.1:${proxy.port}`;
});
afterAll(async () => {
  delete process.env['http_proxy'];
  await proxy.stop();
  provider.closeAllConnections();
  provider.close();
});
beforeEach(() => proxy.asked.splice(0));

test('an OpenID provider is reached by the proxy, with a form or without', async () => {
  const host = `provider.test:${port}`;
  expect(JSON.parse((await fetchText(`http://${host}/keys`)).text)).toEqual({ method: 'GET', host, body: '' });
  const { text } = await fetchText(`http://${host}/token`, { form: { code: 'a b' } });
  expect(JSON.parse(text)).toEqual({ method: 'POST', host, body: 'code=a+b' });
  expect(proxy.asked.map(({ target }) => target)).toEqual([host, host]);
});

test('one on this machine is not', async () => {
  expect((await fetchText(`http://127.0.0.1:${port}/`)).status).toBe(200);
  expect(proxy.asked).toEqual([]);
});

test('a proxy that opens no tunnel is a provider that is away', async () => {
  proxy.status = 403;
  await expect(fetchText(`http://provider.test:${port}/`)).toRejectWithCode('oidc.provider_unavailable');
});
