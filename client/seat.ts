import { status } from '@grpc/grpc-js';
import { callUnary } from '../runtime/rpc/client';
import { RpcError } from '../runtime/rpc/errors';
import { fromUnixSeconds } from '../runtime/rpc/unix-time';
import { signSeatProof } from '../attestation/seats/statements';
import type { TrustBundle } from '../attestation/trust/bundle';
import type { Evidence } from '../proto/gen/licensing/v1/evidence';
import { SeatServiceClient } from '../proto/gen/licensing/v1/seat';
import type { ClosedSeat, Closing, RenewSeatResponse, SeatGrant } from '../proto/gen/licensing/v1/seat';
import type { SessionServiceClient } from '../proto/gen/licensing/v1/session';
import { openService } from './channel';
import { privateKey } from './key';
import type { Session } from './session';
import { systemClock } from '../runtime/clock';
import type { Clock, Timer } from '../runtime/clock';
import type { Code } from '../errors/codes';

const TIMEOUT_MS = 15_000;
/** Neither an enclave nor a service that is away keeps anybody waiting at the end: the missing heartbeat frees the seat as well. */
const END_TIMEOUT_MS = 2_000;
/** It kills what does not end by itself within 2 seconds. */
const LEAVE_TIMEOUT_MS = 3_000;
/** Between two heartbeats nothing is held open at the service: there are more sessions than it has connections. */
const IDLE_MS = 10_000;
/** In times between two heartbeats: when the service could not be reached, and when it refused for now. */
const RETRY = { passing: 1 / 6, refused: 2 };

/** Another heartbeat would get the same answer. */
const FINAL = new Set<Code>(['seat.freed', 'seat.heartbeat', 'login.session_ended', 'login.revoked']);

/** What to do about the seat that a connection holds. */
export interface SeatOptions {
  /** Called when the service refuses to renew the seat. The enclave starts nothing new after `until`. */
  onSeatRefused?: (refusal: RpcError, until: Date) => void;
  /** Default: the system clock. */
  clock?: Clock;
}

/** Where seats come from. Opened before one is needed, so that the connection is there by then. */
export function openSeats(trust: TrustBundle, allowPlaintext: boolean | undefined): SeatServiceClient {
  const service = openService(SeatServiceClient, trust.services.login, trust, allowPlaintext, {
    'grpc.client_idle_timeout_ms': IDLE_MS,
  });
  service.getChannel().getConnectivityState(true);
  return service;
}

/**
 * The seat of one connection: taken, shown to the enclave, kept by heartbeats, given back at the end. The service frees it at once by the enclave's word that
 * the connection is closed, which `leave` asks for; without that it counts until its last token ends.
 */
export class HeldSeat {
  private timer: Timer | undefined;
  private left: Promise<Closing | undefined> | undefined;
  private ending: Promise<void> | undefined;
  private refused = '';

  private constructor(
    private readonly service: SeatServiceClient,
    private readonly enclave: SessionServiceClient,
    private grant: SeatGrant,
    private readonly options: SeatOptions,
  ) {}

  /**
   * Takes a seat by the evidence of a session that was verified before, and hands on what the enclave says about seats of connections that are closed.
   * @param service is closed with the seat
   * @throws RpcError seat.none_free (RESOURCE_EXHAUSTED), seat.unavailable (UNAVAILABLE), seat.…
   */
  static async take(
    service: SeatServiceClient,
    enclave: SessionServiceClient,
    { clientKey, clientCertificates }: Pick<Session, 'clientKey' | 'clientCertificates'>,
    { evidence, closedSeats }: { evidence: Evidence; closedSeats: ClosedSeat[] },
    options: SeatOptions & { signal?: AbortSignal | undefined },
  ): Promise<HeldSeat> {
    const proof = signSeatProof(privateKey(clientKey), evidence.claims);
    const request = { clientCertificates, evidence, proof, closed: closedSeats };
    const { grant } = await callUnary(service, service.takeSeat, request, {
      timeout: TIMEOUT_MS,
      signal: options.signal,
    }).catch((error: unknown) => {
      throw unreached(error);
    });
    if (!grant)
      throw new RpcError('seat.unavailable', status.UNAVAILABLE, 'expected a seat, got an answer without one');
    const seat = new HeldSeat(service, enclave, grant, options);
    try {
      await seat.show();
    } catch (error) {
      void seat.leave().then(() => seat.end());
      throw error;
    }
    seat.schedule(grant.heartbeatSeconds);
    return seat;
  }

  get id(): string {
    return this.grant.seat;
  }

  /** When it is free again, unless a heartbeat comes before. */
  get expiresAt(): Date {
    return fromUnixSeconds(this.grant.expiresAt);
  }

  /** Has the enclave end what runs on the connection, and say that it is closed. Resolves also where it doesn't answer. */
  async leave(): Promise<void> {
    this.timer?.cancel();
    this.left ??= callUnary(this.enclave, this.enclave.closeSession, {}, { timeout: LEAVE_TIMEOUT_MS }).then(
      ({ closing }) => closing,
      () => undefined,
    );
    await this.left;
  }

  /** Gives it back, once the connection is closed. Resolves also where the service is away. */
  end(): Promise<void> {
    this.timer?.cancel();
    this.ending ??= this.giveBack();
    return this.ending;
  }

  private async giveBack(): Promise<void> {
    const request = { token: this.grant.token, closing: await this.left };
    await callUnary(this.service, this.service.endSeat, request, { timeout: END_TIMEOUT_MS }).catch(() => undefined);
    this.service.close();
  }

  private async show(): Promise<void> {
    await callUnary(this.enclave, this.enclave.holdSeat, { token: this.grant.token }, { timeout: TIMEOUT_MS });
  }

  private schedule(seconds: number): void {
    if (this.ending || this.left) return;
    // The connection keeps the process, where anything does.
    this.timer = (this.options.clock ?? systemClock).after(seconds * 1000, () => void this.beat());
  }

  private async beat(): Promise<void> {
    try {
      const { heartbeat } = await callUnary(this.enclave, this.enclave.signHeartbeat, {}, { timeout: TIMEOUT_MS });
      const renew = (token: string): Promise<RenewSeatResponse> => {
        const request = { seat: this.grant.seat, heartbeat, token };
        return callUnary(this.service, this.service.renewSeat, request, { timeout: TIMEOUT_MS });
      };
      const { grant } = await renew('').catch((error: unknown) => {
        // Without its database the service goes by the token. A release before doesn't know that, and takes no request of that size.
        if (error instanceof RpcError && error.code === 'store.unavailable') return renew(this.grant.token);
        throw error;
      });
      if (!grant)
        throw new RpcError('seat.unavailable', status.UNAVAILABLE, 'expected a seat, got an answer without one');
      this.grant = grant;
      await this.show();
      this.refused = '';
      this.schedule(grant.heartbeatSeconds);
    } catch (error) {
      if (this.ending || this.left) return;
      const refusal = error instanceof RpcError && !isPassing(error) ? error : undefined;
      if (refusal && refusal.code !== this.refused) this.options.onSeatRefused?.(refusal, this.expiresAt);
      this.refused = refusal?.code ?? this.refused;
      if (!refusal || !FINAL.has(refusal.code))
        this.schedule(Math.max(1, this.grant.heartbeatSeconds * (refusal ? RETRY.refused : RETRY.passing)));
    }
  }
}

/** Also a token that the enclave doesn't believe yet: it learns of a new client CA a moment later than login. */
function isPassing({ code, grpcStatus }: RpcError): boolean {
  return (
    code === 'seat.token_invalid' ||
    code.startsWith('rpc.') ||
    grpcStatus === status.UNAVAILABLE ||
    grpcStatus === status.DEADLINE_EXCEEDED ||
    grpcStatus === status.INTERNAL
  );
}

/** Not the enclave's absence, which another login would mend. */
function unreached(error: unknown): unknown {
  if (
    !(error instanceof RpcError) ||
    !(error.grpcStatus === status.UNAVAILABLE || error.grpcStatus === status.DEADLINE_EXCEEDED)
  )
    return error;
  return new RpcError(
    'seat.unavailable',
    status.UNAVAILABLE,
    `no seat could be taken: ${/^(rpc|service)\./.test(error.code) ? "the login service doesn't answer" : error.message}`,
    { cause: error },
  );
}
