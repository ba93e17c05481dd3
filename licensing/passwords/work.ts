/**
 * What a hashing thread is asked, which never gets the password itself: see prehash.ts. `padding`: hashes that are compared for the time that it takes
 * alone.
 */
export type Hashing =
  | { kind: 'hash'; prehash: string; cost: number }
  | { kind: 'compare'; prehash: string; hash: string; padding: string[] };

/** What the judging thread is asked: how a new password (NFKC) is weak for whoever knows `inputs`. */
interface Judging {
  kind: 'judge';
  password: string;
  inputs: string[];
}

export type Work = Hashing | Judging;

/** A hash for `hash`, a verdict for `compare`, a reason or nothing for `judge`. */
export interface Answer {
  value: string | boolean | undefined;
}
