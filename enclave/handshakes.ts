import type { Duplex } from 'node:stream';
import { Bounded } from '../runtime/rpc/bounded';
import type { Clock } from '../runtime/clock';

/** From the transport's start to the end of the handshake, however busy it keeps. */
const HANDSHAKE_TIMEOUT_MS = 10_000;
/** Transports that have said nothing: each costs a socket. Of all addresses, and of one. */
const SILENT = { most: 1024, ofOne: 64 };
/** Those that have begun to speak: each costs a TLS server. */
const SPEAKING = { most: 256, ofOne: 32 };

/**
 * Transports that have not finished their TLS handshake, by address. One more than there is room for, and of that address the oldest is closed; where all addresses
 * together have too many, the one that has more than the newcomer makes room. So nobody is kept out by a stranger elsewhere, however fast that is and however slow
 * they are. Whoever has begun to speak makes no room for those who say nothing.
 */
export class Handshakes {
  private readonly silent: Bounded<Duplex>;
  private readonly speaking: Bounded<Duplex>;
  private readonly open = new Map<Duplex, { owner: string; until: number }>();

  constructor(private readonly clock: Clock) {
    const drop = (transport: Duplex): void => void transport.destroy();
    this.silent = new Bounded(SILENT.most, drop, clock, SILENT.ofOne);
    this.speaking = new Bounded(SPEAKING.most, drop, clock, SPEAKING.ofOne);
  }

  /** @param owner whose it is: an address */
  began(transport: Duplex, owner: string): void {
    this.open.set(transport, { owner, until: this.clock.monotonic() + HANDSHAKE_TIMEOUT_MS });
    transport.once('close', () => this.finished(transport));
    this.silent.add(transport, owner, HANDSHAKE_TIMEOUT_MS);
  }

  /** It has sent its first bytes. */
  spoke(transport: Duplex): void {
    const { owner, until } = this.open.get(transport) ?? {};
    if (owner === undefined || until === undefined) return;
    this.silent.delete(transport, owner);
    this.speaking.add(transport, owner, until - this.clock.monotonic());
  }

  /** The handshake is over, or the transport is. */
  finished(transport: Duplex): void {
    const owner = this.open.get(transport)?.owner;
    if (owner === undefined) return;
    this.open.delete(transport);
    this.silent.delete(transport, owner);
    this.speaking.delete(transport, owner);
  }

  /** Cuts all of them. */
  close(): void {
    for (const transport of this.open.keys()) transport.destroy();
  }
}
