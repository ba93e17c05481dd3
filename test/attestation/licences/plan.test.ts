import { planSchema } from '../../../attestation/licences/plan';

const plan = { name: 'team', enclaves: 1, seats: 1 };
const image = `sha256:${'a'.repeat(64)}`;
const takes = (change: object): boolean => planSchema.safeParse({ ...plan, ...change }).success;

test.each([
  {},
  { name: 'a' },
  { name: 'Größe 2 ._-' },
  { name: 'x'.repeat(64) },
  { seats: 1_000_000 },
  { images: [image] },
  { images: Array(32).fill(image) },
  ...['1', '0.5', '500m', '0.001', '9999.999', '999999m'].map((cpu) => ({ cpu })),
  ...['512Mi', '1.5G', '2Ti', '1k', '999999.999M'].map((memory) => ({ memory })),
])('%j is taken', (change) => {
  expect(takes(change)).toBe(true);
});

test.each([
  ...['', '-a', ' a', 'a!', 'a\n', 'a/b', 'x'.repeat(65)].map((name) => ({ name })),
  ...[0, -1, 1.5, 1_000_001].map((seats) => ({ seats })),
  ...[0, 1_000_001].map((enclaves) => ({ enclaves })),
  ...[[], Array(33).fill(image), [`x${image}`], [`${image}0`], ['enclave:latest']].map((images) => ({ images })),
  ...['0', '0.0', '0m', 'x1', '1x', '-1', '1.0005', '10000', '500m5', '1e3'].map((cpu) => ({ cpu })),
  ...['0Mi', '512', 'x512Mi', '512Mix', '512mi', '1.0005Gi', '1000000Mi'].map((memory) => ({ memory })),
])('%j is refused', (change) => {
  expect(takes(change)).toBe(false);
});
