/**
 * Mutation run over attestation/: takes one check away at a time and runs the tests that ought to notice.
 *   npm run mutation -- [PATH...] [--since REF] [--near] [--results FILE]
 * Prints a line for each mutant that survives and is not explained in test/mutation/explained.json, and ends with 1 where there is one.
 * With --near, only the tests of a file's own part of attestation/ and the vectors are run. With --results, verdicts are kept in that file, and those on files that haven't changed since are not looked for again.
 * Works in a copy of the tree: the checkout stays as it is.
 */
import { execFileSync, fork } from 'node:child_process';
import {
  appendFileSync,
  cpSync,
  existsSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { createHash } from 'node:crypto';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { mutantsOf, withMutants } from './mutants.mjs';

/** Mutants that one process tries: what jest leaks ends with it. */
const PER_PROCESS = 150;
const root = resolve(import.meta.dirname, '../..');
const git = (...command) => execFileSync('git', command, { cwd: root, encoding: 'utf8' }).split('\n').filter(Boolean);
const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { since: { type: 'string' }, near: { type: 'boolean' }, results: { type: 'string' } },
});
const paths = positionals.length > 0 ? positionals : ['attestation'];
const listed = values.since ? git('diff', '--name-only', values.since, '--', ...paths) : git('ls-files', ...paths);
const chosen = listed.filter(
  (file) => file.startsWith('attestation/') && file.endsWith('.ts') && existsSync(join(root, file)),
);
const explained = JSON.parse(readFileSync(join(root, 'test/mutation/explained.json'), 'utf8')).mutants;

const copy = mkdtempSync(join(tmpdir(), 'sls-mutation-'));
process.on('exit', () => rmSync(copy, { recursive: true, force: true }));
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => process.exit(130));
for (const file of git('ls-files')) if (existsSync(join(root, file))) cpSync(join(root, file), join(copy, file));
symlinkSync(join(root, 'node_modules'), join(copy, 'node_modules'));

const mutants = [];
for (const file of chosen) {
  const source = readFileSync(join(copy, file), 'utf8');
  const found = mutantsOf(file, source);
  const numbers = found.map((_, i) => mutants.length + i);
  const hash = createHash('sha256').update(source).digest('hex').slice(0, 16);
  mutants.push(...found.map(({ line, what }) => ({ file, line, what, key: `${file}: ${what}`, hash })));
  writeFileSync(join(copy, file), withMutants(source, found, numbers));
}

const verdicts = new Map();
const kept = values.results && existsSync(values.results) ? readFileSync(values.results, 'utf8').split('\n') : [];
const known = new Map(
  kept
    .filter(Boolean)
    .map((line) => JSON.parse(line))
    .map((at) => [`${at.hash} ${at.key}`, at.verdict]),
);
mutants.forEach((mutant, number) => {
  const verdict = known.get(`${mutant.hash} ${mutant.key}`);
  if (mutant.key in explained) verdicts.set(number, 'explained');
  else if (verdict?.startsWith('noticed')) verdicts.set(number, verdict);
});

function conclude(number, verdict) {
  const { file, line, what, key, hash } = mutants[number];
  verdicts.set(number, verdict);
  if (values.results) appendFileSync(values.results, `${JSON.stringify({ key, hash, verdict })}\n`);
  if (verdict === 'survived') console.log(`survived  ${file}:${line}  ${what}`);
  if (verdict === 'noticed: never ended') console.log(`never ended  ${file}:${line}  ${what}`);
  if (verdicts.size % 50 === 0) console.error(`${verdicts.size} of ${mutants.length}`);
}

/** Test file → processor seconds that it takes, and the mutants that it reaches. */
const files = {};

/** The tests of the file's own part of attestation/, and the vectors. */
const nearOf = ({ file }) => [`test/${file.split('/').slice(0, 2).join('/').replace(/\.ts$/, '')}`, 'test/vectors/'];

/** One process with jest in it, which tries what is left until it is done, or stuck in a mutant that never ends. */
function runOnce() {
  const left = mutants.map((_, number) => number).filter((number) => !verdicts.has(number));
  const plan = join(copy, 'mutation-plan.json');
  writeFileSync(
    plan,
    JSON.stringify({
      files,
      nearOnly: values.near,
      mutants: left.slice(0, PER_PROCESS).map((number) => ({ number, near: nearOf(mutants[number]) })),
    }),
  );
  const jest = join(root, 'node_modules/jest/bin/jest.js');
  const child = fork(
    jest,
    [
      '--config',
      'scripts/mutation/jest.config.mjs',
      '--silent',
      '--runInBand',
      '--forceExit',
      ...(values.near ? new Set(mutants.flatMap(nearOf)) : ['test/attestation/', 'test/vectors/']),
    ],
    {
      cwd: copy,
      // Tried once each: CI tries a failed test again.
      env: { ...process.env, CI: undefined, SLS_MUTATION_PLAN: plan },
      stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
    },
  );
  let printed = '';
  child.stderr.on('data', (data) => (printed = (printed + data).slice(-4000)));
  let current = {};
  let since = 0;
  let broken;
  child.on('message', (message) => {
    since = processorSeconds(child.pid) ?? since;
    current = message;
    if (message.broken) broken = `expected the tests to pass without a mutant, got a failure in ${message.broken}`;
    if (message.ran) files[message.ran] = { seconds: message.seconds, reached: message.reached };
    if (message.done) conclude(message.number, message.noticedBy ? `noticed: ${message.noticedBy}` : 'survived');
  });
  const watch = setInterval(() => {
    const usual = files[current.file]?.seconds ?? 120;
    if ((processorSeconds(child.pid) ?? 0) - since > 10 + 5 * usual) child.kill('SIGKILL');
  }, 1000);
  return new Promise((done, failed) => {
    child.on('exit', (code, signal) => {
      clearInterval(watch);
      if (broken) return failed(new Error(broken));
      if (current.number !== undefined && !current.done) conclude(current.number, 'noticed: never ended');
      else if (current.done === undefined && left.length > 0)
        return failed(new Error(`expected jest to run, got its end with ${signal ?? code}\n${printed}`));
      done();
    });
  });
}

/** By /proc/PID/stat, fields 14 and 15, in ticks of 10 ms. */
function processorSeconds(pid) {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return (Number(fields[11]) + Number(fields[12])) / 100;
  } catch {
    return undefined;
  }
}

while (verdicts.size < mutants.length) await runOnce();
const count = (start) => [...verdicts.values()].filter((verdict) => verdict.startsWith(start)).length;
console.log(
  `${mutants.length} mutants: ${count('noticed')} noticed, ${count('explained')} explained, ${count('survived')} survived`,
);
process.exitCode = count('survived') > 0 ? 1 : 0;
