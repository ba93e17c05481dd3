// Runs benchmarks of this checkout and of another commit by turns, and prints how many times the other's value each
// value is here. What a busy machine does to one of a pair it does to the other.
//   npm run bench -- --compare REF [NAME...] [--rounds N] [--json]
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, rmSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';

const ROUNDS = 5;

const say = (line) => process.stderr.write(`bench: ${line}\n`);

/** @returns the folder of a built checkout of the commit, which stays for the next comparison */
function checkout(commit) {
  const cache = join(process.env.XDG_CACHE_HOME || join(homedir(), '.cache'), 'sls-bench');
  const folder = join(cache, commit);
  if (existsSync(join(folder, 'dist', '.built'))) return folder;
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(cache, { recursive: true });
  // A clone rather than a worktree: nothing of it stays behind in this repository.
  execFileSync('git', ['clone', '--quiet', '--no-checkout', process.cwd(), folder]);
  const there = { cwd: folder, stdio: ['ignore', 2, 2] };
  execFileSync('git', ['checkout', '--quiet', commit], there);
  say(`installing the packages of ${commit.slice(0, 8)}`);
  execFileSync('npm', ['ci', '--no-audit', '--no-fund', '--loglevel=error'], there);
  say(`building ${commit.slice(0, 8)}`);
  execFileSync('npm', ['run', '--silent', 'build'], there);
  execFileSync('touch', [join('dist', '.built')], there);
  return folder;
}

/** @returns the values of one run, by benchmark and row */
function measure(folder, names) {
  const output = execFileSync(process.execPath, ['scripts/bench.mjs', '--json', ...names], {
    cwd: folder,
    stdio: ['ignore', 'pipe', 'inherit'],
    maxBuffer: 1 << 26,
  });
  const { results } = JSON.parse(output);
  return new Map(
    Object.entries(results).flatMap(([name, rows]) =>
      rows.map((row) => [`${name}: ${row.name} (${row.unit})`, row.value]),
    ),
  );
}

function median(values) {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

/** Each row that both have: the ratios of its rounds. */
function compare(rounds) {
  const [first] = rounds;
  return [...first.here.keys()]
    .filter((row) => rounds.every(({ here, there }) => here.has(row) && there.get(row) > 0))
    .map((row) => {
      const ratios = rounds.map(({ here, there }) => here.get(row) / there.get(row));
      const [here, there] = ['here', 'there'].map((side) => median(rounds.map((round) => round[side].get(row))));
      return { row, here, there, ratio: median(ratios), least: Math.min(...ratios), most: Math.max(...ratios) };
    });
}

/** @param names of the benchmarks; none for all @throws Error when a commit can't be built or a benchmark fails */
export function compareWith(ref, names, { rounds = ROUNDS, json = false } = {}) {
  const commit = execFileSync('git', ['rev-parse', '--verify', '--end-of-options', `${ref}^{commit}`], {
    encoding: 'utf8',
  }).trim();
  const other = checkout(commit);
  const measured = [];
  for (let round = 1; round <= rounds; round += 1) {
    say(`round ${round} of ${rounds}`);
    const run = {};
    // Whoever is first finds other caches: they take turns at that, too.
    const sides = [
      ['here', process.cwd()],
      ['there', other],
    ];
    for (const [side, folder] of round % 2 ? sides : sides.reverse()) run[side] = measure(folder, names);
    measured.push(run);
  }
  const rows = compare(measured);
  if (json) return process.stdout.write(`${JSON.stringify({ commit, rounds, rows }, null, 2)}\n`);
  const width = Math.max(...rows.map(({ row }) => row.length));
  for (const { row, here, there, ratio, least, most } of rows) {
    const values = [here, there].map((value) => value.toPrecision(4).padStart(10)).join(' ');
    process.stdout.write(
      `${row.padEnd(width)} ${values}  ${ratio.toFixed(2)} (${least.toFixed(2)} to ${most.toFixed(2)})\n`,
    );
  }
  process.stdout.write(
    `here, ${commit.slice(0, 8)}, and the median of here / ${commit.slice(0, 8)} in ${rounds} rounds\n`,
  );
}
