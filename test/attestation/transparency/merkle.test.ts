import nodeCrypto, { createHash } from 'node:crypto';
import fc from 'fast-check';
import { leafHash, merkleTree, nodeHash, rootFromPath } from '../../../attestation/transparency/merkle';

const sha256 = (...parts: Uint8Array[]): Buffer => createHash('sha256').update(Buffer.concat(parts)).digest();
const zero = Buffer.from([0]);
const one = Buffer.from([1]);

/** MTH(D[n]) word by word as RFC 6962, 2.1 defines it: split at the largest power of two smaller than n. */
function definedRoot(data: readonly Buffer[]): Buffer {
  const [first] = data;
  if (data.length === 1 && first !== undefined) return sha256(zero, first);
  const split = splitOf(data.length);
  return sha256(one, definedRoot(data.slice(0, split)), definedRoot(data.slice(split)));
}

/** PATH(m, D[n]) as RFC 6962, 2.1.1 defines it. */
function definedPath(index: number, data: readonly Buffer[]): Buffer[] {
  if (data.length === 1) return [];
  const split = splitOf(data.length);
  return index < split
    ? [...definedPath(index, data.slice(0, split)), definedRoot(data.slice(split))]
    : [...definedPath(index - split, data.slice(split)), definedRoot(data.slice(0, split))];
}

function splitOf(count: number): number {
  let split = 1;
  while (split * 2 < count) split *= 2;
  return split;
}

const leavesOf = (count: number): Buffer[] => Array.from({ length: count }, (_, at) => Buffer.from(`claims ${at}`));

test('leaf and node hashes have their own prefixes: no node is a leaf', () => {
  const left = leafHash(Buffer.from('a'));
  const right = leafHash(Buffer.from('b'));
  expect(left).toEqual(sha256(zero, Buffer.from('a')));
  expect(nodeHash(left, right)).toEqual(sha256(one, left, right));
  expect(leafHash(Buffer.concat([left, right]))).not.toEqual(nodeHash(left, right));
});

test('the hash of an empty leaf is the known one', () => {
  // printf '\0' | sha256sum
  expect(leafHash(Buffer.alloc(0)).toString('hex')).toBe(
    '6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d',
  );
});

test('roots and paths are those of the definition, for every tree of up to 70 leaves', () => {
  for (let count = 1; count <= 70; count++) {
    const data = leavesOf(count);
    const tree = merkleTree(data.map(leafHash));
    expect(tree.root).toEqual(definedRoot(data));
    for (let index = 0; index < count; index++) {
      const path = tree.path(index);
      expect(path).toEqual(definedPath(index, data));
      expect(rootFromPath(leafHash(data[index] as Buffer), index, count, path)).toEqual(tree.root);
    }
  }
});

test('one leaf alone is the root, with an empty path', () => {
  const leaf = leafHash(Buffer.from('a'));
  expect(merkleTree([leaf])).toMatchObject({ root: leaf });
  expect(merkleTree([leaf]).path(0)).toEqual([]);
});

test('a path holds for its own leaf, position and count only', () => {
  fc.assert(
    fc.property(fc.integer({ min: 2, max: 200 }), fc.nat(), fc.nat(), (count, a, b) => {
      const data = leavesOf(count);
      const tree = merkleTree(data.map(leafHash));
      const [index, other] = [a % count, b % count];
      const leaf = leafHash(data[index] as Buffer);
      const path = tree.path(index);
      const same = (root: Buffer | undefined): boolean => root?.equals(tree.root) === true;
      expect(same(rootFromPath(leaf, index, count, path))).toBe(true);
      if (other !== index) {
        expect(same(rootFromPath(leaf, other, count, path))).toBe(false);
        expect(same(rootFromPath(leafHash(data[other] as Buffer), index, count, path))).toBe(false);
      }
      expect(rootFromPath(leaf, index, count, path.slice(1))).toBeUndefined();
      expect(rootFromPath(leaf, index, count, [...path, leaf])).toBeUndefined();
      const flipped = path.map((hash) => Buffer.from(hash));
      (flipped[b % flipped.length] as Buffer)[0]! ^= 1;
      expect(same(rootFromPath(leaf, index, count, flipped))).toBe(false);
    }),
  );
});

test('positions outside the tree, and hashes of another length, lead nowhere', () => {
  const leaf = leafHash(Buffer.from('a'));
  expect(rootFromPath(leaf, 0, 0, [])).toBeUndefined();
  expect(rootFromPath(leaf, 1, 1, [])).toBeUndefined();
  expect(rootFromPath(leaf, 0xffffffff, 0xffffffff, [])).toBeUndefined();
  expect(rootFromPath(leaf, 0, 2, [Buffer.alloc(31)])).toBeUndefined();
  expect(
    rootFromPath(
      leaf,
      0,
      0xffffffff,
      Array.from({ length: 32 }, () => leaf),
    ),
  ).toBeInstanceOf(Buffer);
  expect(() => merkleTree([])).toThrow(RangeError);
  for (const index of [1, -1, 0.5, -0.5, Number.NaN]) expect(() => merkleTree([leaf]).path(index)).toThrow(RangeError);
});

test('each inner node of a thousand leaves is hashed once, however many paths are asked for', () => {
  const data = leavesOf(1000).map(leafHash);
  const hashes = jest.spyOn(nodeCrypto, 'createHash');
  const tree = merkleTree(data);
  data.forEach((_, index) => tree.path(index));
  expect(hashes).toHaveBeenCalledTimes(999);
  hashes.mockRestore();
});
