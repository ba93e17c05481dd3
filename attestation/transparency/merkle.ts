import { sha256 } from '../crypto';

/** Hash of a leaf: SHA-256(0x00 || data) (RFC 6962, 2.1). */
export function leafHash(data: Uint8Array): Buffer {
  return sha256(LEAF, data);
}

/** Hash of an inner node: SHA-256(0x01 || left || right) (RFC 6962, 2.1). The prefixes keep a node from being read as a leaf. */
export function nodeHash(left: Uint8Array, right: Uint8Array): Buffer {
  return sha256(NODE, left, right);
}

interface MerkleTree {
  /** 32 bytes. One leaf alone is its own root. */
  root: Buffer;
  /** Audit path of a leaf (RFC 6962, 2.1.1): from its sibling to the root's child. */
  path(index: number): Buffer[];
}

/**
 * The tree over leaf hashes, in order. Every level is the one below with neighbours joined, an odd one moving up as it is: the same
 * shape as RFC 6962's split at the largest power of two, in one pass.
 * @throws RangeError for no leaves, or an index that isn't one.
 */
export function merkleTree(leaves: readonly Buffer[]): MerkleTree {
  if (leaves.length === 0) throw new RangeError('expected at least one leaf, got none');
  const levels: (readonly Buffer[])[] = [leaves];
  for (let level = leaves; level.length > 1; levels.push(level)) level = joinNeighbours(level);
  return {
    root: (levels[levels.length - 1] as readonly Buffer[])[0] as Buffer,
    path(index) {
      if (!Number.isInteger(index) || index < 0 || index >= leaves.length) {
        throw new RangeError(`expected a leaf from 0 to ${leaves.length - 1}, got ${index}`);
      }
      return levels.flatMap((level, height) => level[Math.floor(index / 2 ** height) ^ 1] ?? []);
    },
  };
}

/**
 * The root that a leaf and its path lead to (RFC 9162, 2.1.3.2), or undefined when the path doesn't fit the position.
 * @param leaf 32 bytes, by leafHash
 * @param index,count unsigned 32-bit
 */
export function rootFromPath(leaf: Buffer, index: number, count: number, path: readonly Buffer[]): Buffer | undefined {
  if (index >= count || path.some((hash) => hash.length !== 32)) return undefined;
  let position = index;
  let last = count - 1;
  let root = leaf;
  for (const sibling of path) {
    if (last === 0) return undefined;
    if (position % 2 === 1 || position === last) {
      root = nodeHash(sibling, root);
      // An odd node out moved up without a sibling. It is the last one, which is not 0.
      while (position % 2 === 0) [position, last] = [position / 2, Math.floor(last / 2)];
    } else {
      root = nodeHash(root, sibling);
    }
    [position, last] = [Math.floor(position / 2), Math.floor(last / 2)];
  }
  return last === 0 ? root : undefined;
}

const LEAF = Buffer.from([0]);
const NODE = Buffer.from([1]);

function joinNeighbours(level: readonly Buffer[]): Buffer[] {
  return level.flatMap((hash, at) => {
    if (at % 2 === 1) return [];
    const right = level[at + 1];
    return [right === undefined ? hash : nodeHash(hash, right)];
  });
}
