import { Server, ServerCredentials } from '@grpc/grpc-js';
import type { ServerOptions } from '@grpc/grpc-js';
import { BulkSessionService } from '../runtime/rpc/bulk';
import { SERVER_CHANNEL_OPTIONS } from '../runtime/rpc/server';
import { widenWindows } from '../runtime/rpc/http2';
import { largestRequest, limitRequests, refuseUnread } from '../runtime/rpc/sizes';
import { MAX_FORWARDS, Session } from './session/session';
import type { SessionOptions } from './session/session';
import type { SecureConnection } from './tls';
import { Calls } from '../runtime/rpc/calls';
import type { CallsOptions } from '../runtime/rpc/calls';
import { bind } from '../runtime/rpc/handlers';

/** A session's calls at the same time: these, and one for each connection to a port. */
const MAX_CALLS = 256 + MAX_FORWARDS;
/** A lost client holds a seat and what runs for it. */
const PING_MS = 10_000;

/**
 * Serves SessionService on one TLS connection. The gRPC server is this connection's own, so a handler knows which TLS session carries its call
 * without asking anyone. Ends with the connection, and ends its commands.
 * @returns takes no more calls, and resolves when those that were open have been answered
 */
export function serveConnection(
  connection: SecureConnection,
  options: SessionOptions & CallsOptions,
): () => Promise<void> {
  const { socket } = connection;
  const largest = largestRequest([BulkSessionService]);
  const server = new Server({
    ...SERVER_CHANNEL_OPTIONS,
    'grpc.keepalive_time_ms': PING_MS,
    'grpc.max_receive_message_length': largest,
    'grpc.max_concurrent_streams': MAX_CALLS,
    'grpc.enable_channelz': 0,
    interceptors: [refuseUnread(largest)],
  } as ServerOptions);
  const session = new Session(connection, options);
  server.addService(limitRequests(BulkSessionService, largest), bind(session.service, new Calls(options)));
  // The TLS is already there: what is injected are the bytes inside it.
  const injector = server.createConnectionInjector(ServerCredentials.createInsecure());
  widenWindows(server);
  socket.once('close', () => {
    void session.close();
    server.forceShutdown();
  });
  injector.injectConnection(socket);
  return () => new Promise((resolve) => server.tryShutdown(() => resolve()));
}
