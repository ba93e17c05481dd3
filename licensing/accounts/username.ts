import { status } from '@grpc/grpc-js';
import { RpcError } from '../../runtime/rpc/errors';

const MAX_CHARACTERS = 64;
/** Longer texts are not worth normalizing: no letter shrinks to nothing by it. */
const MAX_INPUT_CHARACTERS = 256;

/** Fullwidth and halfwidth forms: what RFC 8265, 3.3.1 maps to their usual ones. */
const WIDTH_FORMS = /[\uFF01-\uFFEE\u3000]/gu;

/** Of ASCII, an application's own choice among what RFC 8264, 4.2 allows. */
const PUNCTUATION = '._-';
const FIRST = /^[\p{Ll}\p{Lo}\p{Lm}\p{Nd}]/u;
/** LetterDigits of RFC 8264, 9.1, less capital letters, which the case mapping leaves only where there is no small one. */
const CHARACTERS = new RegExp(`^[\\p{Ll}\\p{Lo}\\p{Lm}\\p{Mn}\\p{Mc}\\p{Nd}${PUNCTUATION}]+$`, 'u');
/** Ignorable ones, old Hangul jamo, and letters that RFC 5892, 2.6 allows in no identifier, or in certain places only. */
const DISALLOWED =
  /[\p{Default_Ignorable_Code_Point}\p{Noncharacter_Code_Point}\u1100-\u11FF\uA960-\uA97C\uD7B0-\uD7FB\u0640\u07FA\u302E\u302F\u3031-\u3035\u303B\u00B7\u0375\u05F3\u05F4\u30FB]/u;
/** A dot over a letter that has one is not seen. */
const HIDDEN_DOT = /\p{Soft_Dotted}\p{M}*\u0307/u;
const DIGITS = [/[\u0660-\u0669]/u, /[\u06F0-\u06F9]/u];

/** Scripts that one name may have at once (Unicode Technical Standard 39, 5.2, "highly restrictive" without Latin beside others). */
const WRITING_SYSTEMS = [
  ['Han', 'Hiragana', 'Katakana'],
  ['Han', 'Hangul'],
  ['Han', 'Bopomofo'],
].map(
  (scripts) =>
    new RegExp(
      `^[${[...scripts, 'Common', 'Inherited'].map((script) => `\\p{Script_Extensions=${script}}`).join('')}]+$`,
      'u',
    ),
);
const SCRIPTS = [
  'Latin',
  'Greek',
  'Cyrillic',
  'Armenian',
  'Georgian',
  'Hebrew',
  'Arabic',
  'Syriac',
  'Thaana',
  'Devanagari',
  'Bengali',
  'Gurmukhi',
  'Gujarati',
  'Oriya',
  'Tamil',
  'Telugu',
  'Kannada',
  'Malayalam',
  'Sinhala',
  'Thai',
  'Lao',
  'Tibetan',
  'Myanmar',
  'Ethiopic',
  'Khmer',
].map((script) => new RegExp(`^[\\p{Script_Extensions=${script}}\\p{Script=Common}\\p{Script=Inherited}]+$`, 'u'));

const RIGHT_TO_LEFT = /[\p{Script=Hebrew}\p{Script=Arabic}\p{Script=Syriac}\p{Script=Thaana}]/u;

/** Compatibility forms that look like others: U+017F, say. RFC 8264, 9.17. */
function hasCompatibilityForms(text: string): boolean {
  return [...text].some((character) => character.normalize('NFKC') !== character.normalize('NFC'));
}

function hasOneWritingSystem(text: string): boolean {
  return [...SCRIPTS, ...WRITING_SYSTEMS].some((system) => system.test(text));
}

/** Stricter than the Bidi Rule (RFC 5893, 2): letters that are written from the right stand among themselves, at both ends. */
function isReadableOneWay(text: string): boolean {
  return !RIGHT_TO_LEFT.test(text) || (/^\p{L}/u.test(text) && /[\p{L}\p{Nd}]\p{Mn}*$/u.test(text));
}

/**
 * The form under which a username is stored and compared: UsernameCaseMapped of PRECIS (RFC 8265, 3.3), of one writing system, at most 64
 * characters. Two texts of one form are the same user; letters of two scripts that look alike make no second one of the same look.
 * @returns undefined for a text that can be no username
 */
export function normalizeUsername(text: string): string | undefined {
  if (text.length > MAX_INPUT_CHARACTERS) return undefined;
  const mapped = text
    .replace(WIDTH_FORMS, (form) => form.normalize('NFKC'))
    .toLowerCase()
    .normalize('NFC');
  // A mapping that would change its own result again names nobody.
  if (mapped.toLowerCase().normalize('NFC') !== mapped || [...mapped].length > MAX_CHARACTERS) return undefined;
  if (
    !FIRST.test(mapped) ||
    !CHARACTERS.test(mapped) ||
    DISALLOWED.test(mapped) ||
    HIDDEN_DOT.test(mapped) ||
    DIGITS.every((digits) => digits.test(mapped))
  )
    return undefined;
  return hasCompatibilityForms(mapped) || !hasOneWritingSystem(mapped) || !isReadableOneWay(mapped)
    ? undefined
    : mapped;
}

/** As `normalizeUsername`, for a new account. @throws RpcError INVALID_ARGUMENT `signup.username_invalid` */
export function checkNewUsername(text: string): string {
  const username = normalizeUsername(text);
  if (username === undefined) {
    throw new RpcError(
      'signup.username_invalid',
      status.INVALID_ARGUMENT,
      'expected a username of 1 to 64 letters of one script, digits, dots, hyphens and underscores that starts with a letter or a digit',
    );
  }
  return username;
}
