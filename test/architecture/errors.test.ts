import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { MAY_IMPORT } from './rules';
import { root, sources } from './sources';

const files = [...new Set(Object.keys(MAY_IMPORT).flatMap(sources))];

test('every error class derives from the one base, and so has a code that the compiler knows', () => {
  const wrong = files.flatMap((file) =>
    [...readFileSync(join(root, file), 'utf8').matchAll(/class (\w+)\s+extends (?:Error|TypeError|RangeError)\b/g)].map(
      ([, name]) => `${file}: ${name}`,
    ),
  );
  expect(wrong).toEqual([]);
});

test('no code is got back out of prose', () => {
  const wrong = files.filter((file) =>
    /\.exec\(\s*\w*[eE]rror\.message\)/.test(readFileSync(join(root, file), 'utf8')),
  );
  expect(wrong).toEqual([]);
});
