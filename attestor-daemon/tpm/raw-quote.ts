import type { AttestationKey } from './attestation-key';

export interface RawQuote {
  attest: Buffer;
  signature: Buffer;
  /** Of QUOTED_PCRS, in their order. */
  values: readonly Buffer[];
}

/**
 * PCR 23 := extend(0, root), then TPM2_Quote with the root as qualifying data. What comes back is not checked yet.
 * @param delayMs benchmarks only: how much slower than this one a real TPM signs
 * @returns undefined when PCR 23 was seen to be disturbed
 */
export type QuoteOnce = (key: AttestationKey, root: Buffer, delayMs: number) => Promise<RawQuote | undefined>;
