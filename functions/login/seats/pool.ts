import { lastingEntitlementOf } from '../../../licensing/licences/entitlement';
import { licenceRefusal } from '../../../licensing/licences/redeem';
import type { SeatPool } from '../../../licensing/seats/seats';
import type { Database } from '../../../licensing/store/database';
import { dateOf, systemClock } from '../../../runtime/clock';
import type { Clock } from '../../../runtime/clock';

/**
 * Among which seats a user's count: those of the licence that applies or, without one, so many of the account's own. A licence that has expired keeps its user
 * from logging in; a session that was let in before keeps its seats, for its certificate's hour at most and for as long as its connections last.
 * One that was revoked was taken away on purpose: what runs by it is told, and has the grace that every lapsed seat has. So is one that was given back where
 * there is no login without one: it would be redeemed by one user after the other, and all of them would go on.
 * @param required whether there is no login without a licence; seats that were taken before that go on without
 * @returns by user, and the licence that a seat counted by so far: null for none, undefined for a new one; throws RpcError FAILED_PRECONDITION
 * licence.revoked, licence.required
 */
export function seatPools(
  database: Database,
  { defaultSeats, required, clock = systemClock }: { defaultSeats: number; required: boolean; clock?: Clock },
): (user: string, before?: string | null) => Promise<SeatPool> {
  return async (user, before) => {
    const entitlement = await lastingEntitlementOf(database, user, dateOf(clock));
    if (!entitlement && required && before !== null)
      throw licenceRefusal('licence.required', 'a licence is needed here, and your account has none');
    if (!entitlement) return { seats: defaultSeats };
    const { licence, seats, plan, state } = entitlement;
    if (state === 'revoked') throw licenceRefusal('licence.revoked', `your licence ${licence} (${plan}) was revoked`);
    return { licence, seats };
  };
}
