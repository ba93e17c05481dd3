import { z } from 'zod';

/** Longest life of a licence: what its key was signed by has to be known for as long. */
export const MAX_LICENCE_YEARS = 10;
/** Days after its end for which a licence may still let its users work. */
export const MAX_GRACE_DAYS = 365;
/** A key with these fits into a page; no more than that is worth parsing. */
const MAX_IMAGES = 32;

const count = z.number().int().min(1).max(1_000_000);

/** Kubernetes quantities, of the forms that people write: 2, 0.5 and 500m of CPU; 512Mi, 2Gi, 1.5G of memory. */
const cpuSchema = z
  .string()
  .regex(/^([1-9]\d{0,5}m|(?=.*[1-9])\d{1,4}(\.\d{1,3})?)$/, 'expected CPUs as 2, 0.5 or 500m');
const memorySchema = z
  .string()
  .regex(/^[1-9]\d{0,5}(\.\d{1,3})?(Ki|Mi|Gi|Ti|k|M|G|T)$/, 'expected an amount of memory as 512Mi or 2Gi');

/** What a licence allows. A limit that a release before must not pass over is named in the licence's `critical` (plan.NAME). */
export const planSchema = z.object({
  name: z
    .string()
    .regex(
      /^[\p{L}\p{N}][\p{L}\p{N} ._-]{0,63}$/u,
      'expected a name of 1 to 64 letters, digits, spaces, dots, hyphens and underscores',
    ),
  /** Absent: any image that the operator allows. */
  images: z
    .array(z.string().regex(/^sha256:[0-9a-f]{64}$/, 'expected sha256: and 64 hexadecimal digits'))
    .min(1)
    .max(MAX_IMAGES)
    .optional(),
  /** Named enclaves of one user. */
  enclaves: count,
  /** Sessions at once, over all users of the licence. */
  seats: count,
  /** Of an enclave. Absent: what the operator gives everyone. */
  cpu: cpuSchema.optional(),
  memory: memorySchema.optional(),
});

/** What a licence allows. */
export type Plan = z.infer<typeof planSchema>;

/** How a licence stands at a time. */
export type LicenceState = 'valid' | 'grace' | 'expired' | 'revoked';
