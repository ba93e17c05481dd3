import type { TLSSocket } from 'node:tls';

/** RFC 9266, 4.2: the context is empty, which in TLS 1.3 is the same as none (RFC 8446, 7.5). */
const LABEL = 'EXPORTER-Channel-Binding';
const CHANNEL_BINDING_BYTES = 32;

/**
 * The value that only the two ends of this very TLS 1.3 session can compute: its tls-exporter channel binding (RFC 9266).
 * @param socket past its handshake
 * @returns 32 bytes
 */
export function channelBinding(socket: TLSSocket): Buffer {
  if (socket.getProtocol() !== 'TLSv1.3') throw new Error(`expected TLSv1.3, got ${socket.getProtocol()}`);
  // The documented third parameter may be left out; its type does not say so.
  const exporter = socket.exportKeyingMaterial as (length: number, label: string) => Buffer;
  return exporter.call(socket, CHANNEL_BINDING_BYTES, LABEL);
}
