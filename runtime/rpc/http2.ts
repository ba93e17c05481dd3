import type { OutgoingHttpHeaders } from 'node:http';
import type { Http2SecureServer, Http2Server, ServerHttp2Session, ServerHttp2Stream } from 'node:http2';
import type { Server } from '@grpc/grpc-js';

/** HTTP/2 windows of connections that carry files: what may be under way before the reader has taken it. HTTP/2's own 64 KiB starve a fast link. */
export const WIDE_WINDOW_BYTES = 4 * 1024 * 1024;

/** The HTTP/2 servers inside, one for each port. grpc-js has no way to them; where a later version keeps them elsewhere, there are none. */
export function http2ServersOf(server: Server): Array<Http2Server | Http2SecureServer> {
  const { http2Servers } = server as unknown as { http2Servers?: Map<Http2Server | Http2SecureServer, unknown> };
  return [...(http2Servers?.keys() ?? [])];
}

/** Calls back with every session to come. */
export function onSession(server: Server, listener: (session: ServerHttp2Session) => void): void {
  for (const http2 of http2ServersOf(server)) http2.on('session', listener);
}

/**
 * Raises the receiving windows of a server's connections to come: grpc-js has an option for its clients only.
 * @param server with its port bound or its injector made
 */
export function widenWindows(server: Server): void {
  onSession(server, (session) => {
    session.settings({ initialWindowSize: WIDE_WINDOW_BYTES });
    session.setLocalWindowSize(WIDE_WINDOW_BYTES);
  });
}

/** What a call's status went out with, if it did: the trailers, or the headers where there is nothing else. */
export function sentStatus({ sentTrailers, sentHeaders }: ServerHttp2Stream): OutgoingHttpHeaders | undefined {
  return [sentTrailers, sentHeaders].find((headers?: OutgoingHttpHeaders) => headers?.['grpc-status'] !== undefined);
}
