import { lastingEntitlementOf } from '../../../core/licences/entitlement';
import { licenceRefusal } from '../../../core/licences/redeem';
import type { SeatPool } from '../../../core/seats/seats';
import type { Database } from '../../../core/store/database';

/**
 * Among which seats a user's count: those of the licence that applies or, without one, so many of the account's own. A licence that has expired keeps its user
 * from logging in; a session that was let in before keeps its seats, for its certificate's hour at most and for as long as its connections last.
 * One that was revoked was taken away on purpose: what runs by it is told, and has the grace that every lapsed seat has.
 * @returns by user; throws RpcError FAILED_PRECONDITION licence.revoked
 */
export function seatPools(database: Database, { defaultSeats }: { defaultSeats: number }): (user: string) => Promise<SeatPool> {
  return async (user) => {
    const entitlement = await lastingEntitlementOf(database, user, new Date());
    if (!entitlement) return { seats: defaultSeats };
    const { licence, seats, plan, state } = entitlement;
    if (state === 'revoked') throw licenceRefusal('licence.revoked', `your licence ${licence} (${plan}) was revoked`);
    return { licence, seats };
  };
}
