import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { mutantsOf, withMutants } from '../../scripts/mutation/mutants.mjs';
import { mutants as explained } from './explained.json';

const root = resolve(__dirname, '../..');
const sourceOf = (file: string): string => readFileSync(join(root, file), 'utf8');

test('every explanation is of a mutant that there is, and is a sentence', () => {
  const stale = Object.entries(explained as Record<string, string>).filter(([key, why]) => {
    const file = key.slice(0, key.indexOf(': '));
    if (!existsSync(join(root, file)) || !/^[A-Z`].{20,}\.$/s.test(why)) return true;
    return !mutantsOf(file, sourceOf(file)).some(({ what }) => `${file}: ${what}` === key);
  });
  expect(stale).toEqual([]);
});

test('no two mutants of a file have one name', () => {
  const files = execFileSync('git', ['ls-files', 'attestation'], { cwd: root, encoding: 'utf8' });
  for (const file of files.split('\n').filter((name) => name.endsWith('.ts'))) {
    const names = mutantsOf(file, sourceOf(file)).map(({ what }) => what);
    expect(names.filter((name, i) => names.indexOf(name) !== i)).toEqual([]);
  }
});

test('a source with its mutants is what it was, and each of them where it is at work', () => {
  const source = 'if (a > 1 && !/^x/.test(b)) return 1; check(a); return 2;';
  const mutants = mutantsOf('sample.ts', source);
  const run = new Function('a', 'b', 'check', withMutants(source, mutants, [...mutants.keys()]));
  const results = (number: number | undefined): unknown[] => {
    Object.assign(globalThis, { mutation: (n: number) => n === number });
    let checked = 0;
    const cases = [[1, 'y'], [2, 'y'], [2, 'x'], [2, 'yx']].map((args) => run(...args, () => checked++) as number); // prettier-ignore
    delete (globalThis as Record<string, unknown>)['mutation'];
    return [...cases, checked];
  };
  const usual = [2, 1, 2, 1, 2];
  expect(results(undefined)).toEqual(usual);
  expect(mutants.map(({ what }, n) => [what, results(n)])).toEqual([
    ['if (a > 1 && !/^x/.test(b)) never', [2, 2, 2, 2, 4]],
    ['a > 1 && !/^x/.test(b) without its right side', [2, 1, 1, 1, 1]],
    ['a > 1 && !/^x/.test(b) without its left side', [1, 1, 2, 1, 1]],
    ['a > 1 with >=', [1, 1, 2, 1, 1]],
    ['/^x/ without ^', [2, 1, 2, 2, 3]],
    ['check(a) not called', [2, 1, 2, 1, 0]],
  ]);
});
