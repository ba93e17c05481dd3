/**
 * What a hashing thread is asked. The password itself never gets there: see prehash.ts. `padding`: hashes that are compared for the time that it
 * takes alone.
 */
export type Work = { kind: 'hash'; prehash: string; cost: number } | { kind: 'compare'; prehash: string; hash: string; padding: string[] };

/** A hash for `hash`, a verdict for `compare`. */
export interface Answer {
  value: string | boolean;
}
