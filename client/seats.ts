import type { Metadata } from '@grpc/grpc-js';
import { callUnary } from '../runtime/rpc/client';
import { fromUnixSeconds } from '../runtime/rpc/unix-time';
import type { TrustBundle } from '../attestation/trust/bundle';
import { SeatServiceClient } from '../proto/gen/licensing/v1/seat';
import { bearer } from './account';
import type { CallOptions } from './account';
import { withService } from './channel';

const TIMEOUT_MS = 15_000;

/** A connection to an enclave that counts among what a licence allows at once. */
export interface SeatSummary {
  seat: string;
  /** The login session that took it. */
  session: string;
  /** What its client called its machine. */
  clientName: string;
  /** Name of the enclave among its user's. */
  enclave: string;
  workloadUid: string;
  node: string;
  takenAt: Date;
  /** Last heartbeat. */
  renewedAt: Date;
  /** Free again then, unless a heartbeat comes before. */
  expiresAt: Date;
}

export interface SeatOverview {
  /** The user's own, the one that was taken last first. */
  seats: SeatSummary[];
  /** How many there are, of the licence or of the account. */
  limit: number;
  /** How many of these are taken, by others too. */
  taken: number;
  /** Id of the licence; undefined: the account's own. */
  licence: string | undefined;
}

/** The seats that the user has now. @throws RpcError */
export function listSeats(trust: TrustBundle, accessToken: string, options: CallOptions = {}): Promise<SeatOverview> {
  return withService(SeatServiceClient, trust.services.login, trust, options, async (client) => {
    const { seats, limit, taken, licence } = await callUnary(client, client.listSeats, {}, call(accessToken, options));
    return {
      seats: seats.map(({ takenAt, renewedAt, expiresAt, ...rest }) => ({
        ...rest,
        takenAt: fromUnixSeconds(takenAt),
        renewedAt: fromUnixSeconds(renewedAt),
        expiresAt: fromUnixSeconds(expiresAt),
      })),
      limit,
      taken,
      licence: licence || undefined,
    };
  });
}

/**
 * Frees seats of the user's. A session that still runs by one is not renewed any more.
 * @param seats ids; none: all
 * @returns how many were freed
 * @throws RpcError seat.not_found
 */
export function freeSeats(
  trust: TrustBundle,
  accessToken: string,
  seats: readonly string[],
  options: CallOptions = {},
): Promise<number> {
  return withService(
    SeatServiceClient,
    trust.services.login,
    trust,
    options,
    async (client) =>
      (await callUnary(client, client.freeSeats, { seats: [...seats] }, call(accessToken, options))).freed,
  );
}

function call(
  accessToken: string,
  { signal }: CallOptions,
): { timeout: number; metadata: Metadata; signal: AbortSignal | undefined } {
  return { timeout: TIMEOUT_MS, metadata: bearer(accessToken), signal };
}
