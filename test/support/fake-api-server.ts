import { createServer } from 'node:http';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { KubeConfig } from '@kubernetes/client-node';
import type { Clock } from '../../runtime/clock';
import { KubernetesApi } from '../../runtime/kubernetes/api';

export interface FakeRequest {
  method: string;
  path: string;
  query: URLSearchParams;
  authorization?: string;
  contentType?: string;
  body?: unknown;
}

export interface FakeAnswer {
  status?: number;
  body?: unknown;
  headers?: Record<string, string>;
  /** Cuts the connection instead of answering. */
  cut?: boolean;
  /** Nothing comes after the headers, as of a watch in which nothing happens. */
  silent?: boolean;
}

/** Speaks HTTP like an API server and answers what the test says. */
export class FakeApiServer {
  readonly requests: FakeRequest[] = [];
  private readonly server = createServer((request, response) => void this.serve(request, response));

  private port = 0;

  private constructor(private readonly answer: (request: FakeRequest) => FakeAnswer) {}

  static async start(answer: (request: FakeRequest) => FakeAnswer): Promise<FakeApiServer> {
    const fake = new FakeApiServer(answer);
    await new Promise<void>((resolve) => fake.server.listen(0, '127.0.0.1', resolve));
    fake.port = (fake.server.address() as AddressInfo).port;
    return fake;
  }

  api(attempts?: number, clock?: Clock): KubernetesApi {
    const config = new KubeConfig();
    config.loadFromClusterAndUser(
      { name: 'fake', server: `http://127.0.0.1:${this.port}`, skipTLSVerify: true },
      { name: 'test', token: 'api-token' },
    );
    return new KubernetesApi(config, attempts, clock);
  }

  async stop(): Promise<void> {
    this.server.closeAllConnections();
    await new Promise((resolve) => this.server.close(resolve));
  }

  private async serve(message: IncomingMessage, response: ServerResponse): Promise<void> {
    const parts: Buffer[] = [];
    for await (const part of message) parts.push(part as Buffer);
    const url = new URL(message.url ?? '', 'http://fake');
    const text = Buffer.concat(parts).toString('utf8');
    const request: FakeRequest = {
      method: message.method ?? '',
      path: url.pathname,
      query: url.searchParams,
      authorization: message.headers.authorization,
      contentType: message.headers['content-type'],
      body: text === '' ? undefined : JSON.parse(text),
    };
    this.requests.push(request);
    const { status = 200, body = {}, headers = {}, cut = false, silent = false } = this.answer(request);
    if (cut) return void message.socket.destroy();
    response.writeHead(status, { 'content-type': 'application/json', ...headers });
    if (silent) response.flushHeaders();
    else response.end(JSON.stringify(body));
  }
}
