import { joinEdge } from './frontier';
import type { Position } from './frontier';
import { nodeHash } from './merkle';

/** Gives the hashes of perfect subtrees, in the order asked for. */
export type ReadHashes = (positions: readonly Position[]) => Promise<Buffer[]>;

/** Leaves from the first to before the last. Begins at a multiple of a power of two that is not smaller than it. */
type Range = readonly [begin: number, end: number];

/**
 * The audit path of a leaf (RFC 9162, 2.1.3.1), which `rootFromPath` takes.
 * @throws RangeError for a leaf outside the tree
 */
export function inclusionProof(index: number, size: number, read: ReadHashes): Promise<Buffer[]> {
  if (!isPosition(index) || !isPosition(size) || index >= size)
    throw new RangeError(`expected a leaf of ${size}, got ${index}`);
  return hashesOf(pathRanges(index, [0, size]), read);
}

/**
 * Shows that a tree begins with all of a smaller one (RFC 9162, 2.1.4.1). Empty for trees of one size, and for the empty tree.
 * @throws RangeError for a first tree that is larger than the second
 */
export function consistencyProof(first: number, second: number, read: ReadHashes): Promise<Buffer[]> {
  if (!isPosition(first) || !isPosition(second) || first > second)
    throw new RangeError(`expected sizes of two trees, the smaller one first, got ${first} and ${second}`);
  return hashesOf(first === 0 ? [] : extensionRanges(first, [0, second], true), read);
}

/** True when the proof shows that the second tree begins with all of the first (RFC 9162, 2.1.4.2). */
export function isConsistent(
  first: { size: number; root: Buffer },
  second: { size: number; root: Buffer },
  proof: readonly Buffer[],
): boolean {
  if (proof.some(({ length }) => length !== 32) || first.size > second.size) return false;
  if (first.size === second.size) return proof.length === 0 && first.root.equals(second.root);
  if (first.size === 0) return proof.length === 0 && first.root.equals(joinEdge([]));
  // A first tree that is perfect is a node of the second one: the proof leaves out what the verifier has.
  const [start, ...path] = isPowerOfTwo(first.size) ? [first.root, ...proof] : proof;
  if (start === undefined) return false;
  let [place, last] = [first.size - 1, second.size - 1];
  const up = (): void => void ([place, last] = [Math.floor(place / 2), Math.floor(last / 2)]);
  while (place % 2 === 1) up();
  let [before, after] = [start, start];
  for (const hash of path) {
    if (last === 0) return false;
    if (place % 2 === 1 || place === last) {
      [before, after] = [nodeHash(hash, before), nodeHash(hash, after)];
      // As in rootFromPath: an even place is the last one here, which is not 0.
      while (place % 2 === 0) up();
    } else {
      after = nodeHash(after, hash);
    }
    up();
  }
  return last === 0 && before.equals(first.root) && after.equals(second.root);
}

function isPosition(value: number): boolean {
  return Number.isSafeInteger(value) && value >= 0;
}

function isPowerOfTwo(value: number): boolean {
  return split(value + 1) === value;
}

/** The largest power of two below the count. */
function split(count: number): number {
  let half = 1;
  while (half * 2 < count) half *= 2;
  return half;
}

/** PATH of RFC 9162, 2.1.3.1: whose hashes it is made of. */
function pathRanges(index: number, [begin, end]: Range): Range[] {
  if (end - begin === 1) return [];
  const middle = begin + split(end - begin);
  return index < middle
    ? [...pathRanges(index, [begin, middle]), [middle, end]]
    : [...pathRanges(index, [middle, end]), [begin, middle]];
}

/** SUBPROOF of RFC 9162, 2.1.4.1. @param known the verifier has the hash of all of the range */
function extensionRanges(first: number, [begin, end]: Range, known: boolean): Range[] {
  if (first === end) return known ? [] : [[begin, end]];
  const middle = begin + split(end - begin);
  return first <= middle
    ? [...extensionRanges(first, [begin, middle], known), [middle, end]]
    : [...extensionRanges(first, [middle, end], false), [begin, middle]];
}

/** The perfect subtrees that a range consists of, largest first. */
function subtrees([begin, end]: Range): Position[] {
  const found: Position[] = [];
  for (let at = begin; at < end;) {
    let level = 0;
    // Whatever is as large as that begins at a multiple of it: see Range.
    while (at + 2 ** (level + 1) <= end) level++;
    found.push({ level, position: at / 2 ** level });
    at += 2 ** level;
  }
  return found;
}

async function hashesOf(ranges: readonly Range[], read: ReadHashes): Promise<Buffer[]> {
  const parts = ranges.map(subtrees);
  const hashes = await read(parts.flat());
  let at = 0;
  return parts.map(({ length }) => joinEdge(hashes.slice(at, (at += length))));
}
