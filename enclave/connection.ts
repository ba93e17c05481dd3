import { Server, ServerCredentials } from '@grpc/grpc-js';
import type { ServerOptions } from '@grpc/grpc-js';
import { SERVER_CHANNEL_OPTIONS } from '../core/rpc/server';
import { SessionServiceService } from '../proto/gen/licensing/v1/session';
import { Session } from './session/session';
import type { SessionOptions } from './session/session';
import type { SecureConnection } from './tls';

/** HTTP/2 windows of one connection: what may be under way before the reader has taken it. HTTP/2's own 64 KiB starve a fast link. */
const WINDOW_BYTES = 4 * 1024 * 1024;
/** A session's calls at the same time. */
const MAX_CALLS = 256;

/**
 * Serves SessionService on one TLS connection. The gRPC server is this connection's own, so a handler knows which TLS session carries its call
 * without asking anyone. Ends with the connection, and ends its commands.
 */
export function serveConnection(connection: SecureConnection, options: SessionOptions): void {
  const { socket } = connection;
  const server = new Server({ ...SERVER_CHANNEL_OPTIONS, 'grpc.max_concurrent_streams': MAX_CALLS, 'grpc.enable_channelz': 0 } as ServerOptions);
  const session = new Session(connection, options);
  server.addService(SessionServiceService, session.service);
  // The TLS is already there: what is injected are the bytes inside it.
  const injector = server.createConnectionInjector(ServerCredentials.createInsecure());
  widen(server);
  socket.once('close', () => {
    session.close();
    server.forceShutdown();
  });
  injector.injectConnection(socket);
}

interface Http2Sessions {
  on(event: 'session', listener: (session: { settings(settings: object): void; setLocalWindowSize(bytes: number): void }) => void): void;
}

/**
 * Raises the HTTP/2 windows. grpc-js has an option for its clients only, so this reaches for the HTTP/2 server inside; where a later version keeps it
 * elsewhere, uploads are slower and nothing else changes.
 */
function widen(server: Server): void {
  const { http2Servers } = server as unknown as { http2Servers?: Map<Http2Sessions, unknown> };
  for (const http2 of http2Servers?.keys() ?? []) {
    http2.on('session', (session) => {
      session.settings({ initialWindowSize: WINDOW_BYTES });
      session.setLocalWindowSize(WINDOW_BYTES);
    });
  }
}
