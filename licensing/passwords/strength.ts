import { ZxcvbnFactory } from '@zxcvbn-ts/core';
import { adjacencyGraphs, dictionary } from '@zxcvbn-ts/language-common';

/** The work grows faster than the length, to about 40 ms here; what this much of a password is worth is enough to say. */
const JUDGED_CHARACTERS = 64;
/** 10^8 guesses and more: zxcvbn's 3 of 4. Online guesses are limited, and offline ones are bcrypt's to slow down. */
const LEAST_SCORE = 3;

/** What is wrong, by the names of zxcvbn's warnings; any other one: easy to guess. */
const REASONS: Partial<Record<string, string>> = {
  topTen: 'it is one of the most common passwords',
  topHundred: 'it is one of the most common passwords',
  common: 'it is a common password',
  similarToCommon: 'it is close to a common password',
  simpleRepeat: 'it repeats one character',
  extendedRepeat: 'it repeats itself',
  sequences: 'it is a sequence',
  straightRow: 'it is a row of keys',
  keyPattern: 'it is a pattern of keys',
  dates: 'it is a date',
  recentYears: 'it holds a year',
  userInputs: 'it holds your username',
};

let judge: ZxcvbnFactory | undefined;

/**
 * Why a password is too easy to guess (zxcvbn, USENIX Security 2016), in words that follow "the password is too easy to guess: ".
 * @param inputs what whoever guesses knows of the user
 * @returns undefined for one that is good enough
 */
export function weakness(password: string, inputs: readonly string[]): string | undefined {
  judge ??= new ZxcvbnFactory({ dictionary, graphs: adjacencyGraphs });
  const { score, feedback } = judge.check([...password].slice(0, JUDGED_CHARACTERS).join(''), [...inputs]);
  if (score >= LEAST_SCORE) return undefined;
  return `${REASONS[feedback.warning ?? ''] ?? 'few guesses find it'}; three or four words that don't belong together are a good one`;
}
