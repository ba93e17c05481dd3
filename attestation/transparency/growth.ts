import { LogError } from './errors';
import { isConsistent } from './proof';
import type { TreeHead } from './tree-head';

/** As much of a head as is remembered, or told by somebody else. */
export type KnownHead = Pick<TreeHead, 'size' | 'root'>;

/**
 * Demands that a log begins with all that it had at another head: that it has only grown.
 * @param prove gives the proof between two sizes (RFC 9162, 2.1.4)
 * @throws LogError log.rolled_back, log.forked; and what `prove` throws
 */
export async function requireGrowth(
  known: KnownHead,
  head: KnownHead,
  prove: (first: number, second: number) => Promise<readonly Buffer[]>,
): Promise<void> {
  if (head.size < known.size) throw rolledBack(known, head.size);
  // The empty tree is the beginning of every other one.
  const proof = known.size === head.size || known.size === 0 ? [] : await prove(known.size, head.size);
  if (!isConsistent(known, head, proof)) throw forked(known);
}

/** The head of the largest log; undefined of none. */
export function largestOf<T extends KnownHead>(heads: readonly T[]): T | undefined {
  return heads.reduce<T | undefined>((most, head) => (most && most.size >= head.size ? most : head), undefined);
}

/** The error for a log that is shorter than it was. */
export function rolledBack(known: KnownHead, size: number): LogError {
  return new LogError(
    'log.rolled_back',
    `the audit log was rolled back: it had ${known.size} records, and shows ${size} now`,
  );
}

/** The error for a log that isn't the continuation of what it was. */
export function forked({ size, root }: KnownHead, records?: { first: number; last: number }): LogError {
  return new LogError(
    'log.forked',
    `the audit log is another one than was shown before: nothing shows that it begins with the ${size} records of root ${root.toString('hex').slice(0, 16)}…`,
    undefined,
    { records },
  );
}
