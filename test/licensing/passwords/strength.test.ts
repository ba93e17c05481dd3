import { ZxcvbnFactory } from '@zxcvbn-ts/core';
import { MAX_PASSWORD_BYTES } from '../../../licensing/passwords/prehash';
import { weakness } from '../../../licensing/passwords/strength';

afterEach(() => jest.restoreAllMocks());

test('of the longest password no more is judged than is enough to say: the work grows faster than the length', () => {
  const check = jest.spyOn(ZxcvbnFactory.prototype, 'check');
  const longest = 'l3tm31n!p4ssw0rd12345678 qwertyuiop '.repeat(99).slice(0, MAX_PASSWORD_BYTES);
  weakness(longest, ['ada']);
  // Characters, of which some are two of JavaScript's units.
  weakness('\u{1f511}'.repeat(MAX_PASSWORD_BYTES / 4), ['ada']);
  expect(check.mock.calls).toEqual([
    [longest.slice(0, 64), ['ada']],
    ['\u{1f511}'.repeat(64), ['ada']],
  ]);
});

test('what stands behind what is judged makes nothing weak', () => {
  const good = 'kJ8#mQ2!xW'.repeat(7).slice(0, 64);
  expect(weakness(`${good}${'a'.repeat(500)}`, [])).toBe(weakness(good, []));
});
