import { z } from 'zod';

/** SEAT_GRACE_SECONDS, a setting of login and of the enclaves, who have to agree: so long runs on what was begun by a seat that has lapsed. */
export const seatGraceSetting = z.coerce
  .number()
  .int()
  .min(0)
  .max(7 * 86_400)
  .default(900);
