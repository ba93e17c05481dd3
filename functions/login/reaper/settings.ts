import { z } from 'zod';

export const reaperSettings = z.object({
  ENCLAVE_NAMESPACE: z.string().default('licensing-enclaves'),
  /** An enclave that nobody used for so many days is deleted. */
  UNUSED_DAYS: z.coerce.number().positive().default(30),
  /** What no row of the database speaks for is deleted so many days after it was first found. */
  ORPHAN_DAYS: z.coerce.number().min(0).default(7),
  /** Of all objects: more orphans than that at once are deleted with an administrator's word only. */
  ORPHAN_PERCENT: z.coerce.number().min(0).max(100).default(5),
  DATABASE_URL_FILE: z.string(),
});
