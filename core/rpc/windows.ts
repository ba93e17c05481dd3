import type { Server } from '@grpc/grpc-js';

/** HTTP/2 windows of connections that carry files: what may be under way before the reader has taken it. HTTP/2's own 64 KiB starve a fast link. */
export const WIDE_WINDOW_BYTES = 4 * 1024 * 1024;

interface Http2Sessions {
  on(event: 'session', listener: (session: { settings(settings: object): void; setLocalWindowSize(bytes: number): void }) => void): void;
}

/**
 * Raises the receiving windows of a server's connections to come. grpc-js has an option for its clients only, so this reaches for the HTTP/2
 * servers inside; where a later version keeps them elsewhere, uploads are slower and nothing else changes.
 * @param server with its port bound or its injector made
 */
export function widenWindows(server: Server): void {
  const { http2Servers } = server as unknown as { http2Servers?: Map<Http2Sessions, unknown> };
  for (const http2 of http2Servers?.keys() ?? []) {
    http2.on('session', (session) => {
      session.settings({ initialWindowSize: WIDE_WINDOW_BYTES });
      session.setLocalWindowSize(WIDE_WINDOW_BYTES);
    });
  }
}
