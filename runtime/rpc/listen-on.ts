import { createServer } from 'node:net';
import type { AddressInfo, Server as Listener } from 'node:net';
import { ServerCredentials } from '@grpc/grpc-js';
import type { Server } from '@grpc/grpc-js';
import { grpcTarget } from './address';
import type { ListenAddress } from './address';

interface Bound {
  /** 0 of a unix socket. */
  port: number;
  /** Takes no more connections, where the server itself doesn't see to that. */
  close(): void;
}

/**
 * Binds a server to its address. grpc-js takes no socket that is open already: its connections are put into it one by one, without TLS.
 * @throws what the system says
 */
export async function listenOn(server: Server, address: ListenAddress, credentials: ServerCredentials): Promise<Bound> {
  if (address.scheme === 'fd') {
    const injector = server.createConnectionInjector(ServerCredentials.createInsecure());
    const listener = await listenOnDescriptor(address.fd, createServer({ noDelay: true }));
    listener.on('connection', (socket) => injector.injectConnection(socket));
    return { port: (listener.address() as AddressInfo).port, close: () => listener.close() };
  }
  const bound = await new Promise<number>((resolve, reject) => {
    server.bindAsync(grpcTarget(address), credentials, (error, port) => (error ? reject(error) : resolve(port)));
  });
  return { port: address.scheme === 'unix' ? 0 : bound, close: () => undefined };
}

/** @throws what the system says, as for a descriptor that is no listening socket */
export async function listenOnDescriptor(fd: number, listener: Listener): Promise<Listener> {
  await new Promise<void>((resolve, reject) => {
    listener.once('error', reject);
    listener.listen({ fd }, resolve);
  });
  return listener;
}
