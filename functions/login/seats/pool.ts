import { applying, toEntitlement } from '../../../core/licences/entitlement';
import { heldLicences } from '../../../core/licences/holdings';
import { licenceRefusal } from '../../../core/licences/redeem';
import type { SeatPool } from '../../../core/seats/seats';
import type { Database } from '../../../core/store/database';

/**
 * Among which seats a user's count: those of the licence that applies or, without one, so many of the account's own. A licence that has expired keeps its user
 * from logging in; a session that was let in before keeps its seats, for its certificate's hour at most and for as long as its connections last.
 * One that was revoked was taken away on purpose: what runs by it is told, and has the grace that every lapsed seat has.
 * @returns throws RpcError FAILED_PRECONDITION licence.revoked
 */
export function seatPools(database: Database, { defaultSeats }: { defaultSeats: number }): (user: string) => Promise<SeatPool> {
  return async (user) => {
    const found = applying(await heldLicences(database, user), new Date());
    if (!found) return { seats: defaultSeats };
    const { licence, seats, plan } = toEntitlement(found.licence);
    if (found.state === 'revoked') throw licenceRefusal('licence.revoked', `your licence ${licence} (${plan}) was revoked`);
    return { licence, seats };
  };
}
