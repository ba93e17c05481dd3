import { connect, createServer } from 'node:net';
import type { AddressInfo, Socket } from 'node:net';

/** Brings connections to a port of this machine from another of its loopback addresses: whoever calls through it is seen there. */
export async function startRelay(port: number, from: string): Promise<{ port: number; stop(): Promise<void> }> {
  const sockets = new Set<Socket>();
  const server = createServer((inside) => {
    const outside = connect({ port, host: '127.0.0.1', localAddress: from });
    for (const [one, other] of [
      [inside, outside],
      [outside, inside],
    ] as const) {
      sockets.add(one);
      one.on('error', () => other.destroy());
      one.on('close', () => {
        sockets.delete(one);
        other.destroy();
      });
      one.pipe(other);
    }
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    port: (server.address() as AddressInfo).port,
    async stop() {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
