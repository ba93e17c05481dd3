import { createServer } from 'node:net';
import type { AddressInfo, Server } from 'node:net';

/** A socket that listens here for a program which can't open one itself, as in a sandbox without a network. */
interface OpenListener {
  port: number;
  /** To pass on. */
  descriptor: number;
  /** Who got the descriptor goes on listening. */
  close(): void;
}

/** @param host an address of this machine @returns on a port that the system chooses; nothing is taken from it here until it is closed */
export async function openListener(host: string): Promise<OpenListener> {
  const server = createServer((socket) => socket.destroy());
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen({ host, port: 0 }, resolve);
  });
  const { port } = server.address() as AddressInfo;
  // Node passes listeners on between its own processes alone.
  const { _handle: handle } = server as Server & { _handle: { fd: number } };
  return { port, descriptor: handle.fd, close: () => server.close() };
}
