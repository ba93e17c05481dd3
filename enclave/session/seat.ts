import { status } from '@grpc/grpc-js';
import { RpcError } from '../../runtime/rpc/errors';
import { signHeartbeat } from '../../attestation/seats/statements';
import { SeatTokenError, verifySeatToken } from '../../attestation/seats/token';
import type { SeatClaims } from '../../attestation/seats/token';
import type { Heartbeat } from '../../proto/gen/licensing/v1/seat';
import { at as atTime, dateOf } from '../../runtime/clock';
import type { Clock, Timer } from '../../runtime/clock';
import type { EnclaveCode } from '../../errors/enclave';

/** What an enclave believes about seats, and what it does without. */
export interface SeatPolicy {
  /** False: everyone who may connect may work. */
  required: boolean;
  /** From a seat's lapse to the end of what runs. */
  graceSeconds: number;
  /** PEM roots of those who sign seat tokens, as they are now: those of client certificates. */
  readonly roots: string;
  trustDomain: string;
  user: string;
  /** PEM, the key of the enclave's TLS certificate. */
  privateKey: string;
  clock: Clock;
}

/** The session that a seat has to be of. */
interface SeatPlace {
  workloadUid: string;
  tlsExporter: Buffer;
}

interface SeatEvents {
  /** The seat has lapsed: a text for whoever waits for what runs. */
  onNotice(text: string): void;
  /** Its grace is over as well. */
  onOver(): void;
}

/**
 * The seat of one connection. When it lapses, nothing new begins; what runs is told, and has the grace time until it is ended, unless a seat is
 * shown again. What never had a seat runs nothing.
 */
export class Seat {
  private held: SeatClaims | undefined;
  private givenUp = false;
  private timer: Timer | undefined;

  constructor(
    private readonly policy: SeatPolicy,
    private readonly place: () => SeatPlace,
    private readonly events: SeatEvents,
  ) {}

  get required(): boolean {
    return this.policy.required;
  }

  /**
   * Takes a token. An older one changes nothing.
   * @throws RpcError UNAUTHENTICATED seat.token_invalid, seat.token_expired; PERMISSION_DENIED seat.other_user, seat.other_workload, seat.other_session;
   * FAILED_PRECONDITION session.closed
   */
  async hold(token: string): Promise<void> {
    const { roots: rootsPem, trustDomain, user, clock } = this.policy;
    const claims = await verifySeatToken(token, { rootsPem, trustDomain, now: dateOf(clock) }).catch(
      (cause: unknown) => {
        if (cause instanceof SeatTokenError)
          throw new RpcError(cause.code, status.UNAUTHENTICATED, cause.message, { cause });
        throw cause;
      },
    );
    const { workloadUid, tlsExporter } = this.place();
    if (claims.user !== user)
      throw refusal('seat.other_user', 'the seat is of another user than the one whom this enclave serves');
    if (claims.workloadUid !== workloadUid) throw refusal('seat.other_workload', 'the seat is for another enclave');
    if (!claims.tlsExporter.equals(tlsExporter)) throw refusal('seat.other_session', 'the seat is for another session');
    this.requireOpen();
    if (this.held && this.held.expiresAt > claims.expiresAt) return;
    this.held = claims;
    this.waitUntil(claims.expiresAt * 1000, () => this.lapse());
  }

  /** @throws RpcError FAILED_PRECONDITION session.closed, seat.required, seat.lapsed */
  require(): void {
    this.requireOpen();
    if (!this.policy.required) return;
    if (!this.held)
      throw new RpcError(
        'seat.required',
        status.FAILED_PRECONDITION,
        'expected a seat to have been shown on this connection',
      );
    if (this.policy.clock.now() >= this.held.expiresAt * 1000)
      throw new RpcError('seat.lapsed', status.FAILED_PRECONDITION, 'the seat of this session has lapsed');
  }

  /** Also after a lapse: by it the session gets a seat again. @throws RpcError FAILED_PRECONDITION session.closed, seat.required */
  heartbeat(): Heartbeat {
    this.requireOpen();
    if (!this.held)
      throw new RpcError(
        'seat.required',
        status.FAILED_PRECONDITION,
        'expected a seat to have been shown on this connection',
      );
    const at = this.policy.clock.now();
    const { tlsExporter } = this.place();
    return {
      at: BigInt(at),
      signature: signHeartbeat(this.policy.privateKey, { seat: this.held.seat, tlsExporter, at }),
    };
  }

  /** From now on nothing begins by it, no token is taken and no heartbeat given. @returns what it was; undefined where there was none */
  giveUp(): SeatClaims | undefined {
    this.givenUp = true;
    this.timer?.cancel();
    return this.held;
  }

  private requireOpen(): void {
    if (this.givenUp)
      throw new RpcError('session.closed', status.FAILED_PRECONDITION, 'the session of this connection was closed');
  }

  private lapse(): void {
    const { required, graceSeconds, clock } = this.policy;
    if (!required) return;
    const end = new Date(clock.now() + graceSeconds * 1000);
    this.events.onNotice(
      `the seat of this session has lapsed: nothing new is begun, and what runs is ended at ${end.toISOString()} unless there is a seat again`,
    );
    this.waitUntil(end.getTime(), () => {
      this.events.onNotice('the seat of this session has lapsed, and what ran is ended');
      this.events.onOver();
    });
  }

  private waitUntil(time: number, then: () => void): void {
    this.timer?.cancel();
    this.timer = atTime(this.policy.clock, time, then);
  }
}

function refusal(code: EnclaveCode, message: string): RpcError {
  return new RpcError(code, status.PERMISSION_DENIED, message);
}
