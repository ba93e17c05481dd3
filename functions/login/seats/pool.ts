import { admitByLicence } from '../../../core/licences/admission';
import type { SeatPool } from '../../../core/seats/seats';
import type { Database } from '../../../core/store/database';

/**
 * Among which seats a user's count: those of the licence that applies or, where none is needed, so many of the account's own.
 * @throws RpcError FAILED_PRECONDITION licence.…: as at a login
 */
export function seatPools(database: Database, { required, defaultSeats }: { required: boolean; defaultSeats: number }): (user: string) => Promise<SeatPool> {
  return async (user) => {
    const entitlement = await admitByLicence(database, user, { required, now: new Date() });
    return entitlement ? { licence: entitlement.licence, seats: entitlement.seats } : { seats: defaultSeats };
  };
}
