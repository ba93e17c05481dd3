import { createHash } from 'node:crypto';
import type { ReadHashes } from '../../../attestation/transparency/proof';

/** RFC 9162, 2.1, word by word and without a thought for speed: what the real trees and proofs are compared with. Shares no code with them. */

const sha256 = (...parts: Uint8Array[]): Buffer => createHash('sha256').update(Buffer.concat(parts)).digest();

/** The largest power of two smaller than n: k < n <= 2k. */
function k(n: number): number {
  let power = 1;
  while (power * 2 < n) power *= 2;
  return power;
}

/** MTH(D_n), 2.1.1. */
export function MTH(D: readonly Buffer[]): Buffer {
  const n = D.length;
  if (n === 0) return sha256();
  if (n === 1) return sha256(Buffer.from([0]), D[0]!);
  return sha256(Buffer.from([1]), MTH(D.slice(0, k(n))), MTH(D.slice(k(n))));
}

/** PATH(m, D_n), 2.1.3.1. */
export function PATH(m: number, D: readonly Buffer[]): Buffer[] {
  const n = D.length;
  if (n === 1) return [];
  return m < k(n)
    ? [...PATH(m, D.slice(0, k(n))), MTH(D.slice(k(n)))]
    : [...PATH(m - k(n), D.slice(k(n))), MTH(D.slice(0, k(n)))];
}

/** PROOF(m, D_n), 2.1.4.1, for 0 < m < n. */
export function PROOF(m: number, D: readonly Buffer[]): Buffer[] {
  return SUBPROOF(m, D, true);
}

function SUBPROOF(m: number, D: readonly Buffer[], b: boolean): Buffer[] {
  const n = D.length;
  if (m === n) return b ? [] : [MTH(D)];
  return m <= k(n)
    ? [...SUBPROOF(m, D.slice(0, k(n)), b), MTH(D.slice(k(n)))]
    : [...SUBPROOF(m - k(n), D.slice(k(n)), false), MTH(D.slice(0, k(n)))];
}

/** A store of perfect subtrees over the data, as the database is one. */
export function subtreesOf(D: readonly Buffer[]): ReadHashes {
  return (positions) =>
    Promise.resolve(
      positions.map(({ level, position }) => MTH(D.slice(position * 2 ** level, (position + 1) * 2 ** level))),
    );
}

export function dataOf(count: number, name = 'record'): Buffer[] {
  return Array.from({ length: count }, (_, at) => Buffer.from(`${name} ${at}`));
}
