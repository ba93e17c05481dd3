import { entitlementOf } from '../../licensing/licences/entitlement';
import type { Queries } from '../../licensing/store/queries';
import { dateOf, systemClock } from '../../runtime/clock';
import type { Clock } from '../../runtime/clock';

/** How many enclaves a user may have: what their licence's plan says, or `fallback` without one. */
export function enclaveLimits(
  queries: Queries,
  fallback: number,
  clock: Clock = systemClock,
): (user: string) => Promise<number> {
  return async (user) => (await entitlementOf(queries, user, dateOf(clock)))?.enclaves ?? fallback;
}
