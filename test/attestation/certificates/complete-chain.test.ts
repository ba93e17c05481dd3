import 'reflect-metadata';
import { AuthorityKeyIdentifierExtension, SubjectKeyIdentifierExtension, X509Certificate } from '@peculiar/x509';
import { completeChain, makePool } from '../../../attestation/certificates/complete-chain';
import { makeAuthority, makeLeaf } from '../../support/authority';
import type { TestAuthority } from '../../support/authority';

type Authority = TestAuthority & { name: string };
const derOf = ({ certificate }: TestAuthority): Buffer => Buffer.from(new X509Certificate(certificate).rawData);

let root: Authority;
/** From the one below the root to the one that is named as the leaf's issuer. */
let authorities: Authority[];
let leaf: Buffer;
beforeAll(async () => {
  root = await makeAuthority('root');
  authorities = [];
  for (let depth = 0; depth < 8; depth++)
    authorities.push(await makeAuthority(`authority ${depth}`, { issuer: authorities.at(-1) ?? root }));
  leaf = await makeLeaf(authorities[2] as Authority);
});

const upward = (): Buffer[] => [leaf, ...authorities.slice(0, 3).map(derOf).reverse()];
const poolOf = (...of: TestAuthority[]): ReturnType<typeof makePool> => makePool(of.map((one) => one.certificate));

test('authorities in any order, given or of the pool, come in their order, without the root', () => {
  const [, last, middle, first] = upward() as [Buffer, Buffer, Buffer, Buffer];
  expect(completeChain([leaf, first, last, middle], [])).toEqual(upward());
  expect(completeChain([leaf], poolOf(...authorities.slice(0, 3)))).toEqual(upward());
  expect(completeChain([leaf, derOf(root), first, last, middle], poolOf(root))).toEqual(upward());
});

test('a leaf whose issuer is nowhere stays alone', () => {
  expect(completeChain([leaf], [])).toEqual([leaf]);
  expect(completeChain([], poolOf(root))).toEqual([]);
});

test('of two authorities of one name, the one whose key the certificate names', async () => {
  const [one, two] = [await makeAuthority('twin'), await makeAuthority('twin')];
  const withId = async (id: string): Promise<Buffer> =>
    makeLeaf(root, { ca: true, extensions: [new SubjectKeyIdentifierExtension(id)] });
  const [a, b] = [await withId('aa'.repeat(20)), await withId('bb'.repeat(20))];
  const below = await makeLeaf(
    { ...one, name: 'leaf' },
    { extensions: [new AuthorityKeyIdentifierExtension('bb'.repeat(20))] },
  );
  expect(completeChain([below, a, b], [])).toEqual([below, b]);
  expect(two.name).toBe(one.name);
});

test('authorities that certify each other end the way up', async () => {
  const a = await makeAuthority('a', { issuer: { ...root, name: 'b' } });
  const b = await makeAuthority('b', { issuer: { ...root, name: 'a' } });
  const below = await makeLeaf(a);
  expect(completeChain([below, derOf(a), derOf(b)], [])).toEqual([below, derOf(a), derOf(b)]);
});

test('six certificates at most, of sixteen given ones at most', async () => {
  const deep = await makeLeaf(authorities[7] as Authority);
  const all = authorities.map(derOf);
  expect(completeChain([deep, ...all], [])).toEqual([deep, ...all.slice(3).reverse()]);
  const given = (count: number): Buffer[] => [
    leaf,
    ...upward().slice(1).reverse(),
    ...Array<Buffer>(count - 4).fill(leaf),
  ];
  expect(completeChain(given(16), [])).toEqual(upward());
  expect(completeChain(given(17), [])).toEqual(given(17));
});
