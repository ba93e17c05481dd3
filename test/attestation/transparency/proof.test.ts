import fc from 'fast-check';
import { leafHash, nodeHash, rootFromPath } from '../../../attestation/transparency/merkle';
import { consistencyProof, inclusionProof, isConsistent } from '../../../attestation/transparency/proof';
import { dataOf, MTH, PATH, PROOF, subtreesOf } from './reference';
import { CONSISTENCY, INCLUSION, LEAVES, ROOTS } from './vectors';

const headOf = (D: readonly Buffer[]): { size: number; root: Buffer } => ({ size: D.length, root: MTH(D) });

/** Every way to spoil a proof a little: a bit flipped, a hash left out, twice, or of another length, two swapped, one more. */
function spoiled(proof: readonly Buffer[]): Buffer[][] {
  const ways = proof.flatMap((hash, at) => {
    const flipped = Buffer.from(hash);
    flipped[at % 32]! ^= 1 << (at % 8);
    const [before, after] = [proof.slice(0, at), proof.slice(at + 1)];
    return [
      [...before, flipped, ...after],
      [...before, ...after],
      [...before, hash, hash, ...after],
      [...before, hash.subarray(1), ...after],
      ...(after[0] ? [[...before, after[0], hash, ...after.slice(1)]] : []),
    ];
  });
  return [...ways, [...proof, Buffer.alloc(32)], [Buffer.alloc(32), ...proof]];
}

describe('inclusion', () => {
  test.each(INCLUSION)('leaf $index of $size: the published path', async ({ index, size, path }) => {
    expect(await inclusionProof(index, size, subtreesOf(LEAVES))).toEqual(path);
    expect(rootFromPath(leafHash(LEAVES[index]!), index, size, path)).toEqual(ROOTS[size]);
  });

  test('paths are those of the definition and lead to the root, for every leaf of every size up to 64, and of larger ones', async () => {
    const sizes = [...Array.from({ length: 64 }, (_, at) => at + 1), 127, 128, 129, 200];
    for (const size of sizes) {
      const data = dataOf(size);
      const [read, root] = [subtreesOf(data), MTH(data)];
      for (let index = 0; index < size; index++) {
        const path = await inclusionProof(index, size, read);
        expect(path).toEqual(PATH(index, data));
        expect(rootFromPath(leafHash(data[index]!), index, size, path)).toEqual(root);
      }
    }
  });

  test('a spoiled path, another record, place or size leads elsewhere', async () => {
    await fc.assert(
      fc.asyncProperty(fc.integer({ min: 2, max: 150 }), fc.nat(), fc.nat(), async (size, a, b) => {
        const data = dataOf(size);
        const [index, other] = [a % size, b % size];
        const path = await inclusionProof(index, size, subtreesOf(data));
        const root = MTH(data);
        const leads = (leaf: Buffer, at: number, of: number, way: readonly Buffer[]): boolean =>
          rootFromPath(leaf, at, of, way)?.equals(root) === true;
        const leaf = leafHash(data[index]!);
        expect(leads(leaf, index, size, path)).toBe(true);
        for (const way of spoiled(path).filter((way) => !same(way, path)))
          expect(leads(leaf, index, size, way)).toBe(false);
        if (other !== index) {
          expect(leads(leafHash(data[other]!), index, size, path)).toBe(false);
          expect(leads(leaf, other, size, path)).toBe(false);
        }
      }),
      { numRuns: 60 },
    );
  });

  test('a leaf outside the tree has no path, and nothing is read for it', () => {
    const read = (): never => {
      throw new Error('read');
    };
    for (const [index, size] of [
      [0, 0],
      [5, 5],
      [-1, 5],
      [0.5, 5],
      [0, Number.NaN],
      [2 ** 53, 2 ** 54],
    ] as const) {
      expect(tried(() => inclusionProof(index, size, read))).toThrow(/^expected a leaf of /);
    }
  });
});

describe('consistency', () => {
  test.each(CONSISTENCY)('of $first and $second: the published proof', async ({ first, second, path }) => {
    expect(await consistencyProof(first, second, subtreesOf(LEAVES))).toEqual(path);
    expect(isConsistent({ size: first, root: ROOTS[first]! }, { size: second, root: ROOTS[second]! }, path)).toBe(true);
  });

  test('the example of RFC 9162, 2.1.5: seven leaves', async () => {
    const D = dataOf(7);
    const [c, d, g, h, i, j] = [
      MTH([D[2]!]),
      MTH([D[3]!]),
      MTH(D.slice(0, 2)),
      MTH(D.slice(2, 4)),
      MTH(D.slice(4, 6)),
      MTH([D[6]!]),
    ];
    const k = MTH(D.slice(0, 4));
    const l = MTH(D.slice(4));
    const read = subtreesOf(D);
    expect(await consistencyProof(3, 7, read)).toEqual([c, d, g, l]);
    expect(await consistencyProof(4, 7, read)).toEqual([l]);
    expect(await consistencyProof(6, 7, read)).toEqual([i, j, k]);
    expect(await inclusionProof(0, 7, read)).toEqual([MTH([D[1]!]), h, l]);
    expect(await inclusionProof(6, 7, read)).toEqual([i, k]);
  });

  test('proofs are those of the definition and hold, for all pairs of sizes up to 48, and of larger ones', async () => {
    const sizes = [...Array.from({ length: 48 }, (_, at) => at + 1), 63, 64, 65, 100, 128, 200];
    const data = dataOf(200);
    const [read, heads] = [subtreesOf(data), new Map(sizes.map((size) => [size, headOf(data.slice(0, size))]))];
    for (const second of sizes) {
      for (const first of sizes.filter((size) => size < second)) {
        const proof = await consistencyProof(first, second, read);
        expect(proof).toEqual(PROOF(first, data.slice(0, second)));
        expect(isConsistent(heads.get(first)!, heads.get(second)!, proof)).toBe(true);
      }
    }
  });

  test('every tree begins with the empty one, and with itself: no hashes', async () => {
    const data = dataOf(5);
    const read = subtreesOf(data);
    const [empty, five] = [headOf([]), headOf(data)];
    expect(await consistencyProof(0, 5, read)).toEqual([]);
    expect(await consistencyProof(5, 5, read)).toEqual([]);
    expect(await consistencyProof(0, 0, read)).toEqual([]);
    expect(isConsistent(empty, five, [])).toBe(true);
    expect(isConsistent(five, five, [])).toBe(true);
    expect(isConsistent(empty, empty, [])).toBe(true);
    expect(isConsistent({ size: 0, root: five.root }, five, [])).toBe(false);
    expect(isConsistent(empty, five, [five.root])).toBe(false);
    expect(isConsistent(five, { size: 5, root: empty.root }, [])).toBe(false);
    expect(isConsistent(five, five, [five.root])).toBe(false);
    expect(isConsistent(five, headOf(data.slice(0, 4)), [])).toBe(false);
  });

  test('a tree in which one early record is another, is missing or came later is consistent with none of before, by no proof of its own', async () => {
    await fc.assert(
      fc.asyncProperty(fc.integer({ min: 2, max: 120 }), fc.nat(), fc.nat(), async (second, a, b) => {
        const data = dataOf(second);
        const first = 1 + (a % (second - 1));
        const changed = b % first;
        const head = headOf(data.slice(0, first));
        const replaced = data.map((record, at) => (at === changed ? Buffer.from('another') : record));
        const removed = [...data.filter((_, at) => at !== changed), Buffer.from('one more')];
        for (const forged of [replaced, removed]) {
          const proofs = [
            await consistencyProof(first, second, subtreesOf(forged)),
            await consistencyProof(first, second, subtreesOf(data)),
          ];
          for (const proof of proofs) expect(isConsistent(head, headOf(forged), proof)).toBe(false);
        }
      }),
      { numRuns: 60 },
    );
  });

  test('a spoiled proof, or one for other sizes, holds for nothing', async () => {
    await fc.assert(
      fc.asyncProperty(fc.integer({ min: 2, max: 150 }), fc.nat(), fc.nat(), async (second, a, b) => {
        const data = dataOf(second);
        const [first, other] = [1 + (a % (second - 1)), 1 + (b % (second - 1))];
        const proof = await consistencyProof(first, second, subtreesOf(data));
        const [before, after] = [headOf(data.slice(0, first)), headOf(data)];
        expect(isConsistent(before, after, proof)).toBe(true);
        for (const way of spoiled(proof).filter((way) => !same(way, proof)))
          expect(isConsistent(before, after, way)).toBe(false);
        if (other !== first) expect(isConsistent({ ...before, size: other }, after, proof)).toBe(false);
        expect(isConsistent({ ...before, root: after.root }, after, proof)).toBe(false);
        expect(isConsistent(before, { ...after, root: before.root }, proof)).toBe(false);
      }),
      { numRuns: 60 },
    );
  });

  test('a proof of another length than the sizes need holds for nothing, whatever roots it leads to', async () => {
    const data = dataOf(7);
    const proof = await consistencyProof(3, 7, subtreesOf(data));
    const [before, after] = [headOf(data.slice(0, 3)), headOf(data)];
    expect(isConsistent(before, after, proof)).toBe(true);
    // One more, as if the tree were higher: both roots are made to fit.
    const more = Buffer.alloc(32, 7);
    const higher = ({ size, root }: { size: number; root: Buffer }) => ({ size, root: nodeHash(more, root) });
    expect(isConsistent(higher(before), higher(after), [...proof, more])).toBe(false);
    // Fewer, as if it were lower.
    const [start] = proof as [Buffer];
    expect(isConsistent({ size: 3, root: start }, { size: 7, root: start }, [start])).toBe(false);
    expect(isConsistent({ size: 4, root: start }, { size: 7, root: start }, [])).toBe(false);
    expect(isConsistent(before, after, [])).toBe(false);
    // A smaller tree doesn't begin with a larger one, even one with its root.
    expect(isConsistent({ size: 8, root: start }, { size: 4, root: start }, [])).toBe(false);
  });

  test('a proof of hashes of another length holds for nothing, whatever roots it leads to', async () => {
    const [start, right, left, last] = await consistencyProof(3, 7, subtreesOf(dataOf(7)));
    const odd = start!.subarray(1);
    const root = (size: number, hash: Buffer) => ({ size, root: hash });
    const first = root(3, nodeHash(left!, odd));
    const second = root(7, nodeHash(nodeHash(left!, nodeHash(odd, right!)), last!));
    expect(isConsistent(first, second, [odd, right!, left!, last!])).toBe(false);
    // With as many bytes as there should be, the roots are those that were made to fit.
    const even = Buffer.alloc(32, 5);
    expect(
      isConsistent(root(3, nodeHash(left!, even)), root(7, nodeHash(nodeHash(left!, nodeHash(even, right!)), last!)), [
        even,
        right!,
        left!,
        last!,
      ]),
    ).toBe(true);
  });

  test('sizes that are none, or in the other order, have no proof, and nothing is read for them', () => {
    const read = (): never => {
      throw new Error('read');
    };
    for (const [first, second] of [
      [6, 5],
      [-1, 5],
      [0.5, 5],
      [1, Number.NaN],
      [1, 2 ** 53],
    ] as const) {
      expect(tried(() => consistencyProof(first, second, read))).toThrow(/^expected sizes of two trees/);
    }
  });
});

test('proofs over a log of billions read a hash for each level or two, not for each record', async () => {
  let read = 0;
  const count = (positions: readonly unknown[]): Promise<Buffer[]> => {
    read += positions.length;
    return Promise.resolve(positions.map(() => Buffer.alloc(32)));
  };
  await inclusionProof(123_456_789, 2 ** 33 - 1, count);
  await consistencyProof(1_234_567, 2 ** 33 - 1, count);
  expect(read).toBeLessThan(200);
});

/** What refuses later than at once is no refusal, and must not end the test run. */
function tried(make: () => Promise<unknown>): () => void {
  return () => void make().catch(() => undefined);
}

function same(a: readonly Buffer[], b: readonly Buffer[]): boolean {
  return a.length === b.length && a.every((hash, at) => hash.equals(b[at]!));
}
