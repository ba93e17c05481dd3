import fc from 'fast-check';
import { checkNewUsername, normalizeUsername } from '../../core/accounts/username';

test.each([
  ['alice', 'alice'],
  ['ALICE', 'alice'],
  ['Ａｌｉｃｅ', 'alice'],
  ['\u212Aelvin', 'kelvin'],
  ['a.b-c_d', 'a.b-c_d'],
  ['7', '7'],
  ['x'.repeat(64), 'x'.repeat(64)],
])('%s is the user %s', (text, username) => {
  expect(checkNewUsername(text)).toBe(username);
});

test.each(['', '.a', '-a', '_a', 'a b', ' a', 'a\n', 'a\0', 'a/b', '../a', 'ä', 'аlice', 'İ', 'ı', 'a\u200Bb', 'x'.repeat(65), 'x'.repeat(10_000)])(
  '%j is no username',
  (text) => {
    expect(() => checkNewUsername(text)).toThrow(expect.objectContaining({ code: 'signup.username_invalid' }));
  },
);

test('what is a username already stays as it is, and nothing else comes out', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'grapheme', maxLength: 80 }), (text) => {
      const username = normalizeUsername(text);
      if (username === undefined) return;
      expect(username).toMatch(/^[a-z0-9][a-z0-9._-]{0,63}$/);
      expect(normalizeUsername(username)).toBe(username);
    }),
  );
});
