import { sha256 } from '../crypto';
import { nodeHash } from './merkle';

/** Where a perfect subtree is: over the leaves from position·2^level on, 2^level of them. A leaf has level 0. */
export interface Position {
  level: number;
  position: number;
}

/** A perfect subtree with its hash, 32 bytes. */
export interface Subtree extends Position {
  hash: Buffer;
}

/**
 * The right edge of a growing tree: the perfect subtrees that it consists of, largest first. All that is needed to append to it and to know its
 * root, in memory that grows by the logarithm of its size.
 */
export class Frontier {
  private readonly hashes: Buffer[];

  /**
   * @param size number of leaves
   * @param hashes 32 bytes for each bit of `size` that is set, largest subtree first
   * @throws RangeError
   */
  constructor(
    private leaves = 0,
    hashes: readonly Buffer[] = [],
  ) {
    const expected = leaves.toString(2).replaceAll('0', '').length;
    if (
      !Number.isSafeInteger(leaves) ||
      leaves < 0 ||
      hashes.length !== expected ||
      hashes.some(({ length }) => length !== 32)
    ) {
      throw new RangeError(`expected ${expected} hashes of 32 bytes for ${leaves} leaves, got ${hashes.length}`);
    }
    this.hashes = [...hashes];
  }

  get size(): number {
    return this.leaves;
  }

  get edge(): readonly Buffer[] {
    return this.hashes;
  }

  /** Appends a leaf, by its hash. @returns the subtrees of two leaves and more that it completes, smallest first */
  append(leaf: Buffer): Subtree[] {
    const completed: Subtree[] = [];
    let hash = leaf;
    for (let [level, position] = [1, this.leaves]; position % 2 === 1; level++) {
      position = (position - 1) / 2;
      hash = nodeHash(this.hashes.pop() as Buffer, hash);
      completed.push({ level, position, hash });
    }
    this.hashes.push(hash);
    this.leaves++;
    return completed;
  }

  /** The tree's hash (RFC 9162, 2.1.1). That of the empty tree is the hash of nothing. */
  root(): Buffer {
    return joinEdge(this.hashes);
  }
}

/** The hash over perfect subtrees that stand side by side, largest first. */
export function joinEdge(hashes: readonly Buffer[]): Buffer {
  return hashes.length === 0 ? sha256() : hashes.reduceRight((right, left) => nodeHash(left, right));
}
