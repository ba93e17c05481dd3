import { clockWarnings } from '../../../../attestation/evidence/steps/clock';
import type { ClockInfo } from '../../../../attestation/tpm/quote';

const at = (resetCount: number, restartCount: number, clock: number): ClockInfo => ({
  resetCount,
  restartCount,
  clock: BigInt(clock),
  safe: true,
});
const before = at(7, 3, 1000);
const HALF = 2 ** 31;

test.each<[string, ClockInfo, ClockInfo]>([
  ['the same moment', before, before],
  ['a later one', at(7, 3, 1001), before],
  ['a restart, the clock behind', at(7, 4, 0), before],
  ['a reset, all else behind', at(8, 0, 0), before],
  ['a reset counter that wrapped', at(0, 0, 0), at(2 ** 32 - 1, 9, 9)],
  ['a restart counter that wrapped', at(7, 0, 0), at(7, 2 ** 32 - 1, 9)],
  ['just less than half of all resets later', at(HALF - 1, 0, 0), at(0, 0, 0)],
])('%s: no warning', (_, now, previous) => {
  expect(clockWarnings(now, previous)).toEqual([]);
});

test.each<[string, ClockInfo, ClockInfo]>([
  ['an earlier moment', at(7, 3, 999), before],
  ['a restart less, the clock ahead', at(7, 2, 5000), before],
  ['a reset less, all else ahead', at(6, 9, 5000), before],
  ['half of all resets later, or earlier', at(HALF, 0, 0), at(0, 0, 0)],
])('%s: the clock went back', (_, now, previous) => {
  expect(clockWarnings(now, previous)).toEqual([expect.objectContaining({ code: 'quote.clock_backwards' })]);
});

test('without an earlier quote nothing is compared; a clock that is not safe says so', () => {
  expect(clockWarnings(at(0, 0, 0), undefined)).toEqual([]);
  const unsafe = clockWarnings({ ...before, safe: false }, undefined);
  expect(unsafe).toEqual([expect.objectContaining({ code: 'quote.clock_unsafe' })]);
});
