import { request as httpRequest } from 'node:http';
import type { IncomingMessage } from 'node:http';
import { request as httpsRequest } from 'node:https';
import type { Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';
import { portOf } from '../rpc/address';
import { proxyFor } from '../rpc/proxy';
import type { Proxy } from '../rpc/proxy';

interface HttpRequest {
  /** Sent as application/x-www-form-urlencoded, by POST. */
  form?: Record<string, string> | undefined;
  signal: AbortSignal;
}

export interface HttpAnswer {
  status: number;
  /** To be read to its end, or given up by `cancel`. */
  body: AsyncIterable<Uint8Array>;
  cancel(): Promise<void>;
}

const ACCEPT = { accept: 'application/json' };

/** One HTTP request, by the proxy of the environment where one is set: Node's own fetch knows none. Redirects are not followed. @throws what the system says */
export async function requestHttp(url: string, { form, signal }: HttpRequest): Promise<HttpAnswer> {
  const parsed = new URL(url);
  const scheme = parsed.protocol === 'https:' ? 'https' : 'http';
  const address = { scheme, host: parsed.hostname, port: portOf(parsed) } as const;
  const proxy = proxyFor(address);
  const content = form && new URLSearchParams(form).toString();
  if (proxy) return throughTunnel(url, await openTunnel(proxy, address, signal), content, signal);
  const response = await fetch(url, {
    ...(form && { method: 'POST', body: new URLSearchParams(form) }),
    headers: ACCEPT,
    redirect: 'manual',
    signal,
  });
  return {
    status: response.status,
    body: (response.body ?? []) as AsyncIterable<Uint8Array>,
    cancel: async () => response.body?.cancel(),
  };
}

/** RFC 9110, 9.3.6. */
function openTunnel(
  proxy: Proxy,
  { host, port }: { host: string; port: number },
  signal: AbortSignal,
): Promise<Socket> {
  const path = `${host}:${port}`;
  const { credentials } = proxy;
  const proof = credentials && { 'proxy-authorization': `Basic ${Buffer.from(credentials).toString('base64')}` };
  return new Promise((resolve, reject) => {
    const request = httpRequest({
      host: proxy.host,
      port: proxy.port,
      method: 'CONNECT',
      path,
      headers: { host: path, ...proof },
      agent: false,
      signal,
    });
    request.once('connect', ({ statusCode }: IncomingMessage, socket: Socket) => {
      if (statusCode === 200) return resolve(socket);
      socket.destroy();
      reject(new Error(`the proxy ${proxy.host}:${proxy.port} opens no tunnel: HTTP ${statusCode}`));
    });
    request.once('error', reject);
    request.end();
  });
}

function throughTunnel(
  url: string,
  socket: Socket,
  content: string | undefined,
  signal: AbortSignal,
): Promise<HttpAnswer> {
  const { protocol, hostname } = new URL(url);
  const secure = protocol === 'https:';
  return new Promise((resolve, reject) => {
    const request = (secure ? httpsRequest : httpRequest)(url, {
      // Without an agent, which would make a connection of its own.
      signal,
      headers: { ...ACCEPT, ...(content !== undefined && { 'content-type': 'application/x-www-form-urlencoded' }) },
      method: content === undefined ? 'GET' : 'POST',
      createConnection: () =>
        secure ? connectTls({ socket, servername: hostname, ALPNProtocols: ['http/1.1'] }) : socket,
    });
    request.once('error', reject);
    request.once('response', (response) =>
      resolve({
        status: response.statusCode ?? 0,
        body: response as AsyncIterable<Uint8Array>,
        cancel: async () => void response.destroy(),
      }),
    );
    request.end(content);
  });
}
