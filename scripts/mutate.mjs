/**
 * Mutation run over attestation/: takes one check away at a time and runs the tests that ought to notice.
 *   npm run mutation -- [FILE...] [--since REF]
 * Prints a line for each mutant that survives and is not explained in test/mutation/explained.json, and ends with 1 where there is one.
 * Works in a copy of the tree: the checkout stays as it is.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { mutantsOf } from './mutants.mjs';

const root = resolve(import.meta.dirname, '..');
const args = process.argv.slice(2);
const since = args.includes('--since') ? args.splice(args.indexOf('--since'), 2)[1] : undefined;
const git = (...command) => execFileSync('git', command, { cwd: root, encoding: 'utf8' }).split('\n').filter(Boolean);
const isSource = (file) => file.startsWith('attestation/') && file.endsWith('.ts');
const chosen =
  args.length > 0
    ? args
    : since
      ? git('diff', '--name-only', since, '--', 'attestation')
      : git('ls-files', 'attestation');
const explained = JSON.parse(readFileSync(join(root, 'test/mutation/explained.json'), 'utf8')).mutants;

const copy = mkdtempSync(join(tmpdir(), 'sls-mutation-'));
process.on('exit', () => rmSync(copy, { recursive: true, force: true }));
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => process.exit(130));
for (const file of git('ls-files')) cpSync(join(root, file), join(copy, file));
symlinkSync(join(root, 'node_modules'), join(copy, 'node_modules'));

/** Whether these tests fail. A mutant that never ends counts as noticed. */
function fails(paths, timeout = 300_000) {
  const jest = join(root, 'node_modules/.bin/jest');
  const options = ['--bail', '--silent', '--forceExit', '--maxWorkers=1', '--passWithNoTests', ...paths];
  return spawnSync(jest, options, { cwd: copy, stdio: 'ignore', timeout }).status !== 0;
}

/** The tests of the file's own folder and the vectors first: most mutants end there, within two seconds. */
function isNoticed(file) {
  const near = [`test/${dirname(file)}/`, 'test/vectors/'].filter((path) => existsSync(join(copy, path)));
  return fails(near) || fails(['test/attestation/', 'test/vectors/']);
}

if (fails(['test/attestation/', 'test/vectors/'], 1_800_000))
  throw new Error('expected the tests to pass without a mutant');
const counts = { noticed: 0, explained: 0, survived: 0 };
for (const file of chosen.filter(isSource)) {
  const source = readFileSync(join(copy, file), 'utf8');
  for (const { start, end, text, line, what } of mutantsOf(file, source)) {
    const key = `${file}: ${what}`;
    if (key in explained) {
      counts.explained++;
      continue;
    }
    writeFileSync(join(copy, file), source.slice(0, start) + text + source.slice(end));
    const noticed = isNoticed(file);
    counts[noticed ? 'noticed' : 'survived']++;
    if (!noticed) console.log(`survived  ${file}:${line}  ${what}`);
  }
  writeFileSync(join(copy, file), source);
  console.error(`${file}: ${JSON.stringify(counts)}`);
}
console.log(`${counts.noticed} noticed, ${counts.explained} explained, ${counts.survived} survived`);
process.exitCode = counts.survived > 0 ? 1 : 0;
