import type { Metadata } from '@grpc/grpc-js';
import { callUnary } from '../runtime/rpc/client';
import { fromUnixSeconds } from '../runtime/rpc/unix-time';
import type { TrustBundle } from '../attestation/trust/bundle';
import { SeatServiceClient } from '../proto/gen/licensing/v1/seat';
import { bearer } from './account';
import type { CallOptions } from './account';
import { withService } from './channel';

const TIMEOUT_MS = 15_000;

/** A connection to an enclave that counts against the concurrent sessions of a licence. */
export interface SeatSummary {
  /** Id (UUID). */
  seat: string;
  /** Id of the login session that took it. */
  session: string;
  /** `CallOptions.clientName` of that session. */
  clientName: string;
  /** Name of the user's enclave. */
  enclave: string;
  workloadUid: string;
  node: string;
  takenAt: Date;
  /** Last heartbeat. */
  renewedAt: Date;
  /** The seat is free again then, unless a heartbeat arrives first. */
  expiresAt: Date;
  /** Given up: it is renewed no more, and counts until `expiresAt`. */
  ended: boolean;
}

/** The seats of a user, and of the licence that they count against. */
export interface SeatOverview {
  /** The user's own, most recently taken first. */
  seats: SeatSummary[];
  /** Number of seats of the licence or account. */
  limit: number;
  /** How many of those are taken, including by other users. */
  taken: number;
  /** Id of the licence; undefined for the account's own seats. */
  licence: string | undefined;
}

/** Lists the user's seats. @throws RpcError login.token_invalid */
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
 * Gives up seats of the user. They are renewed no more, and count until their last tokens end; a session that still holds one can start nothing new then.
 * @param seats ids; empty: all
 * @returns the number of seats given up
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
