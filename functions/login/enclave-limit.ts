import { entitlementOf } from '../../licensing/licences/entitlement';
import type { Queries } from '../../licensing/store/queries';

/** How many enclaves a user may have: what their licence's plan says, or `fallback` without one. */
export function enclaveLimits(queries: Queries, fallback: number): (user: string) => Promise<number> {
  return async (user) => (await entitlementOf(queries, user, new Date()))?.enclaves ?? fallback;
}
