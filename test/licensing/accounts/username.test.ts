import fc from 'fast-check';
import { checkNewUsername, normalizeUsername } from '../../../licensing/accounts/username';

test.each([
  ['alice', 'alice'],
  ['ALICE', 'alice'],
  ['Ａｌｉｃｅ', 'alice'],
  ['\u212Aelvin', 'kelvin'],
  ['a.b-c_d', 'a.b-c_d'],
  ['7', '7'],
  ['x'.repeat(64), 'x'.repeat(64)],
  ['Zoë', 'zoë'],
  ['Zoe\u0308', 'zoë'],
  ['ΣΊΣΥΦΟΣ', 'σίσυφος'],
  ['Аня', 'аня'],
  ['ｱｲｳ', 'アイウ'],
  ['山田_はな', '山田_はな'],
  ['מרים', 'מרים'],
  ['straße', 'straße'],
])('%s is the user %s', (text, username) => {
  expect(checkNewUsername(text)).toBe(username);
});

test.each([
  '',
  '.a',
  '-a',
  '_a',
  'a b',
  ' a',
  'a\n',
  'a\0',
  'a/b',
  '../a',
  'аlice',
  'aλ',
  'paypаl',
  '\u0130',
  'a\u200Bb',
  'a\u00ADb',
  'a\u202Eb',
  'ﬁ',
  '\u017F',
  'ª',
  'x²',
  'a\u00B7b',
  '☃',
  'a@b',
  'אa',
  'א.',
  '\u0308a',
  '\u0661\u06F1',
  '\uD800',
  'x'.repeat(65),
  'x'.repeat(10_000),
])('%j is no username', (text) => {
  expect(() => checkNewUsername(text)).toThrowWithCode('signup.username_invalid');
});

test('what is a username already stays as it is, and nothing else comes out', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'grapheme', maxLength: 80 }), (text) => {
      const username = normalizeUsername(text);
      if (username === undefined) return;
      expect(username).toMatch(/^[\p{L}\p{Nd}][\p{L}\p{M}\p{Nd}._-]{0,63}$/u);
      expect(username).toBe(username.normalize('NFC').toLowerCase());
      expect(normalizeUsername(username)).toBe(username);
    }),
  );
});

test('usernames that look the same in their other forms are one and the same', () => {
  for (const forms of [
    ['zoë', 'ZOË', 'zoe\u0308', 'ＺＯＥ\u0308'],
    ['ångström', 'A\u030Angstro\u0308m', '\u212Bngström'],
    ['アイウ', 'ｱｲｳ'],
  ]) {
    expect(new Set(forms.map(normalizeUsername))).toEqual(new Set([forms[0]!.normalize('NFC')]));
  }
});
