import { lastingEntitlementOf } from '../../../core/licences/entitlement';
import type { SeatPool } from '../../../core/seats/seats';
import type { Database } from '../../../core/store/database';

/**
 * Among which seats a user's count: those of the licence that applies or, without one, so many of the account's own. A licence that is over keeps its user
 * from logging in; a session that was let in before keeps its seats, for its certificate's hour at most and for as long as its connections last.
 */
export function seatPools(database: Database, { defaultSeats }: { defaultSeats: number }): (user: string) => Promise<SeatPool> {
  return async (user) => {
    const entitlement = await lastingEntitlementOf(database, user, new Date());
    return entitlement ? { licence: entitlement.licence, seats: entitlement.seats } : { seats: defaultSeats };
  };
}
