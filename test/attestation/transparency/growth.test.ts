import fc from 'fast-check';
import { largestOf, requireGrowth } from '../../../attestation/transparency/growth';
import { leafHash, merkleTree } from '../../../attestation/transparency/merkle';
import { consistencyProof } from '../../../attestation/transparency/proof';
import { Frontier } from '../../../attestation/transparency/frontier';

const leaves = Array.from({ length: 24 }, (_, at) => leafHash(Buffer.from([at])));
const headOf = (size: number, of = leaves): { size: number; root: Buffer } => ({
  size,
  root: size === 0 ? new Frontier().root() : merkleTree(of.slice(0, size)).root,
});
const prove =
  (of = leaves) =>
  (first: number, second: number): Promise<Buffer[]> =>
    consistencyProof(first, second, async (positions) =>
      positions.map(
        ({ level, position }) => merkleTree(of.slice(position * 2 ** level, (position + 1) * 2 ** level)).root,
      ),
    );

test('a log that has only grown, between any two sizes', async () => {
  await fc.assert(
    fc.asyncProperty(fc.nat(24), fc.nat(24), async (a, b) => {
      await requireGrowth(headOf(Math.min(a, b)), headOf(Math.max(a, b)), prove());
    }),
  );
});

test('a log of the same records but one, or with fewer', async () => {
  await fc.assert(
    fc.asyncProperty(fc.integer({ min: 1, max: 24 }), fc.integer({ min: 1, max: 24 }), fc.nat(23), async (a, b, at) => {
      const [first, second] = [Math.min(a, b), Math.max(a, b)];
      const other = leaves.map((leaf, place) => (place === at % first ? leafHash(Buffer.from('other')) : leaf));
      await expect(requireGrowth(headOf(first), headOf(second, other), prove(other))).rejects.toMatchObject({
        name: 'LogError',
        code: 'log.forked',
      });
      await expect(requireGrowth(headOf(first), headOf(second, other), prove())).toRejectWithCode('log.forked');
      await expect(requireGrowth(headOf(first), headOf(first - 1), prove())).toRejectWithCode('log.rolled_back');
    }),
  );
});

test('of several heads the one of the largest log, and the first of two of one size', () => {
  const [small, large, again] = [headOf(3), headOf(8), headOf(8)];
  expect(largestOf([])).toBeUndefined();
  expect(largestOf([small, large, again])).toBe(large);
  expect(largestOf([large, small])).toBe(large);
});

test('no proof is asked for where none is needed', async () => {
  const none = (): Promise<Buffer[]> => Promise.reject(new Error('asked'));
  await requireGrowth(headOf(7), headOf(7), none);
  await requireGrowth(headOf(0), headOf(7), none);
  await expect(requireGrowth(headOf(7), headOf(8), none)).rejects.toThrow('asked');
});
