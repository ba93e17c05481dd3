import { status } from '@grpc/grpc-js';
import { RpcError } from '../runtime/rpc/errors';
import { peerAddress } from '../runtime/rpc/peer';
import type { TrustedProxies } from '../runtime/rpc/peer';

/** A client opens one tunnel on a connection of its own. */
const MAX_TUNNELS = 32;

/** How many tunnels each connection carries. A proxy's carry those of many: there the room for handshakes, by address, is the only bound (handshakes.ts). */
export class Tunnels {
  private readonly open = new Map<string, number>();

  constructor(private readonly proxies: TrustedProxies) {}

  /**
   * @param peer of the connection: its address and port
   * @returns for the tunnel's end
   * @throws RpcError RESOURCE_EXHAUSTED enclave.tunnels
   */
  enter(peer: string): () => void {
    if (this.proxies.has(peerAddress(peer) ?? '')) return () => undefined;
    const others = this.open.get(peer) ?? 0;
    if (others >= MAX_TUNNELS)
      throw new RpcError(
        'enclave.tunnels',
        status.RESOURCE_EXHAUSTED,
        `expected ${MAX_TUNNELS} tunnels on a connection at most, got one more`,
      );
    this.open.set(peer, others + 1);
    return () => {
      const left = (this.open.get(peer) ?? 1) - 1;
      if (left > 0) this.open.set(peer, left);
      else this.open.delete(peer);
    };
  }
}
