import { createPrivateKey } from 'node:crypto';
import { signClosing } from '../../attestation/seats/statements';
import type { SeatClaims } from '../../attestation/seats/token';
import type { ClosedSeat } from '../../proto/gen/licensing/v1/seat';
import type { Clock } from '../../runtime/clock';

/** More connections than one enclave has, so a client that ends them all at once is told of most. */
const MAX_CLOSED = 32;

interface ClosedSeatsOptions {
  trustDomain: string;
  /** PEM, the key of the enclave's TLS certificate. */
  privateKey: string;
  /** For which a seat that has lapsed may still count for its user: see SeatPolicy. */
  graceSeconds: number;
  clock: Clock;
}

/**
 * What this enclave signs about seats whose connection is closed. A client that was killed can't bring that to the login service, so whoever of its
 * user's comes next does; the newest are kept, each until it counts no more by itself.
 */
export class ClosedSeats {
  private readonly closed = new Map<string, { expiresAt: number; statement: ClosedSeat }>();

  constructor(private readonly options: ClosedSeatsOptions) {}

  /** Only once nothing runs by the seat, and nothing ever will. */
  add({ seat, tlsExporter, expiresAt }: Pick<SeatClaims, 'seat' | 'tlsExporter' | 'expiresAt'>): ClosedSeat {
    const known = this.closed.get(seat);
    if (known) return known.statement;
    const { trustDomain, privateKey, clock } = this.options;
    const at = clock.now();
    const signature = signClosing(createPrivateKey(privateKey), { trustDomain, seat, tlsExporter, at });
    const statement = { seat, closing: { at: BigInt(at), signature } };
    this.closed.set(seat, { expiresAt, statement });
    const [oldest] = this.closed.keys();
    if (this.closed.size > MAX_CLOSED && oldest !== undefined) this.closed.delete(oldest);
    return statement;
  }

  /** Those that may still count. */
  list(): ClosedSeat[] {
    const { clock, graceSeconds } = this.options;
    const now = clock.now() / 1000;
    for (const [seat, { expiresAt }] of this.closed) if (expiresAt + graceSeconds < now) this.closed.delete(seat);
    return [...this.closed.values()].map(({ statement }) => statement);
  }
}
