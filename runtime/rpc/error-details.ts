import type { Metadata } from '@grpc/grpc-js';
import { z } from 'zod';
import type { RefusalCode } from '../../errors/verifier';

/** Trailing metadata that carries a refusal's details: JSON, with names in snake case. */
export const DETAILS_KEY = 'sls-details';
const MAX_DETAILS_LENGTH = 1024;

/** What a program may want to know of a refusal beside its code. */
export interface ErrorDetails {
  /** Of login.evidence_refused and seat.evidence_refused: why the evidence was refused. A later release's service may say what this one doesn't know. */
  refusal?: RefusalCode | undefined;
  /** Of login.limited and licence.limited: whole seconds until another attempt is looked at. */
  retryAfterSeconds?: number | undefined;
}

// A field that is malformed is left out, one that isn't known is passed over: the code stands without them.
const detailsSchema = z
  .object({
    refusal: z
      .string()
      .regex(/^[a-z_]{1,40}\.[a-z_]{1,40}$/)
      .optional()
      .catch(undefined),
    retry_after_seconds: z.number().int().nonnegative().optional().catch(undefined),
  })
  .transform((sent): ErrorDetails => ({
    refusal: sent.refusal as RefusalCode | undefined,
    retryAfterSeconds: sent.retry_after_seconds,
  }));

export function writeDetails(metadata: Metadata, { refusal, retryAfterSeconds }: ErrorDetails): void {
  if (refusal === undefined && retryAfterSeconds === undefined) return;
  metadata.set(DETAILS_KEY, JSON.stringify({ refusal, retry_after_seconds: retryAfterSeconds }));
}

/** The peer may be anyone: what isn't details is none. */
export function readDetails(metadata: Metadata | undefined): ErrorDetails {
  const text = metadata?.get(DETAILS_KEY)[0];
  if (typeof text !== 'string' || text.length > MAX_DETAILS_LENGTH) return {};
  try {
    return detailsSchema.parse(JSON.parse(text));
  } catch {
    return {};
  }
}
