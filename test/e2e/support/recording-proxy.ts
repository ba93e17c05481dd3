import { createServer } from 'node:http';
import type { Server } from 'node:http';
import { connect } from 'node:net';
import type { AddressInfo, Socket } from 'node:net';

/** An HTTP proxy (CONNECT) that keeps every byte of both directions, by host: what the ingress and all that stands behind it can see. */
export class RecordingProxy {
  private readonly server: Server = createServer();
  private readonly seen = new Map<string, Buffer[]>();
  private readonly sockets = new Set<Socket>();

  static async start(): Promise<RecordingProxy> {
    const proxy = new RecordingProxy();
    proxy.server.on('connect', (request, client: Socket, head) => {
      const [host = '', port = '80'] = (request.url ?? '').split(':');
      const parts = proxy.seen.get(host) ?? [];
      proxy.seen.set(host, parts);
      const upstream = connect(Number(port), host, () => {
        client.write('HTTP/1.1 200 Connection established\r\n\r\n');
        upstream.write(head);
        for (const [from, to] of [
          [client, upstream],
          [upstream, client],
        ] as const) {
          from.on('data', (part: Buffer) => {
            parts.push(part);
            to.write(part);
          });
          from.on('end', () => to.end());
        }
      });
      for (const socket of [client, upstream]) {
        proxy.sockets.add(socket);
        socket.on('error', () => [client, upstream].forEach((each) => each.destroy()));
        socket.on('close', () => proxy.sockets.delete(socket));
      }
    });
    await new Promise<void>((resolve) => proxy.server.listen(0, '127.0.0.1', resolve));
    return proxy;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.server.address() as AddressInfo).port}`;
  }

  /** Everything that went to hosts whose name matches, and came back. */
  bytes(host: RegExp): Buffer {
    return Buffer.concat([...this.seen].filter(([name]) => host.test(name)).flatMap(([, parts]) => parts));
  }

  async stop(): Promise<void> {
    for (const socket of this.sockets) socket.destroy();
    await new Promise((resolve) => this.server.close(resolve));
  }
}
