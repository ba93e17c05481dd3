import { Frontier } from '../../../attestation/transparency/frontier';
import { leafHash } from '../../../attestation/transparency/merkle';
import { dataOf, MTH } from './reference';
import { LEAVES, ROOTS } from './vectors';

test('a tree that grows has the published roots', () => {
  const frontier = new Frontier();
  expect(frontier.root()).toEqual(ROOTS[0]);
  LEAVES.forEach((data, at) => {
    frontier.append(leafHash(data));
    expect(frontier.root()).toEqual(ROOTS[at + 1]);
  });
});

test('roots and completed subtrees are those of the definition, for every size up to 300, also when it is stored and read again at each', () => {
  const data = dataOf(300);
  let frontier = new Frontier();
  data.forEach((record, at) => {
    const completed = frontier.append(leafHash(record));
    // One for each power of two that the new size is a multiple of.
    let levels = 0;
    while ((at + 1) % 2 ** (levels + 1) === 0) levels++;
    expect(completed.map(({ level }) => level)).toEqual(Array.from({ length: levels }, (_, level) => level + 1));
    for (const { level, position, hash } of completed)
      expect(hash).toEqual(MTH(data.slice(position * 2 ** level, (position + 1) * 2 ** level)));
    expect(frontier.size).toBe(at + 1);
    expect(frontier.root()).toEqual(MTH(data.slice(0, at + 1)));
    frontier = new Frontier(
      frontier.size,
      frontier.edge.map((hash) => Buffer.from(hash)),
    );
  });
});

test('what its edge was made of before does not change with it', () => {
  const edge = [leafHash(Buffer.from('a'))];
  const frontier = new Frontier(1, edge);
  frontier.append(leafHash(Buffer.from('b')));
  expect(edge).toEqual([leafHash(Buffer.from('a'))]);
});

test('an edge that does not fit the size is refused', () => {
  const hash = Buffer.alloc(32);
  expect(() => new Frontier(3, [hash])).toThrow(RangeError);
  expect(() => new Frontier(0, [hash])).toThrow(RangeError);
  expect(() => new Frontier(1, [Buffer.alloc(31)])).toThrow(RangeError);
  expect(() => new Frontier(1)).toThrow(RangeError);
  expect(() => new Frontier(3, [hash, Buffer.alloc(33)])).toThrow(RangeError);
  for (const size of [-1, 0.5, Number.NaN, 2 ** 53, Infinity])
    for (let count = 0; count < 9; count++)
      expect(() => new Frontier(size, Array(count).fill(hash))).toThrow(RangeError);
});
