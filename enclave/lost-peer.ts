import { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { every } from '../runtime/clock';
import type { Clock, Timer } from '../runtime/clock';

/** How often it is looked. */
const LOOK_MS = 500;
/** Without a byte for so long, TCP asks every second whether the other side is there, ten times (libuv, uv_tcp_keepalive). */
const QUIET_MS = 5_000;

/** A socket's own side of the operating system; the one public way to this call remembers its first answer. */
interface Handle {
  /** getpeername(2). @returns 0, or a negative errno: without a connection there is no peer */
  getpeername?(out: object): number;
}

/**
 * Calls `lost` once TCP has given the connection up. Node's HTTP/2 doesn't always tell: it swallows errors of writing (Http2Session::ClearOutgoing), and what
 * waits for its other side to take more reads nothing, so a client that was killed under a command's output would be there until no ping is answered.
 */
export function watchPeer(transport: Duplex, clock: Clock, lost: () => void): Timer | undefined {
  if (!(transport instanceof Socket)) return undefined;
  transport.setKeepAlive(true, QUIET_MS);
  const { _handle: handle } = transport as Socket & { _handle?: Handle | null };
  if (!handle?.getpeername) return undefined;
  return every(clock, LOOK_MS, () => {
    if (handle.getpeername?.({}) !== 0) lost();
  });
}
