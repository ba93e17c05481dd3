import type { Server } from '@grpc/grpc-js';

/** HTTP/2 windows of connections that carry files: what may be under way before the reader has taken it. HTTP/2's own 64 KiB starve a fast link. */
export const WIDE_WINDOW_BYTES = 4 * 1024 * 1024;

interface Http2Stream {
  once(event: 'aborted', listener: () => void): void;
  destroy(): void;
}

interface Http2Session {
  settings(settings: object): void;
  setLocalWindowSize(bytes: number): void;
  on(event: 'stream', listener: (stream: Http2Stream) => void): void;
}

/** Calls back with every session to come. grpc-js has no way to its HTTP/2 servers; where a later version keeps them elsewhere, nothing is called. */
function onSession(server: Server, listener: (session: Http2Session) => void): void {
  const { http2Servers } = server as unknown as { http2Servers?: Map<{ on(event: 'session', f: typeof listener): void }, unknown> };
  for (const http2 of http2Servers?.keys() ?? []) http2.on('session', listener);
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

/**
 * Lets a handler that has stopped reading notice that its caller is gone. Otherwise Node.js tells of a reset stream only once what came before the reset was
 * read, and a command that does not read its input would outlive its call.
 * @param server with its port bound or its injector made
 */
export function noticeResets(server: Server): void {
  onSession(server, (session) => session.on('stream', (stream) => stream.once('aborted', () => stream.destroy())));
}
