// Runs the benchmarks in bench/, each in a process of its own, and prints what they measured.
//   npm run bench [-- NAME...] [-- --json]      with --cluster: those of bench/cluster
//   npm run bench -- --compare REF [NAME...] [--rounds N] [--json]      by turns with those of another commit
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync, symlinkSync } from 'node:fs';
import { cpus, tmpdir, totalmem } from 'node:os';
import { basename, join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { build } from 'esbuild';
import { compareWith } from './bench-compare.mjs';

const usage = (message) => {
  process.stderr.write(`bench: ${message}\n`);
  process.exit(2);
};
const { values: options, positionals: wanted } = readOptions();
const { json } = options;
const home = options.cluster ? 'bench/cluster' : 'bench';
const known = readdirSync(home)
  .filter((file) => file.endsWith('.ts') && !['bench.ts', 'hello.ts', 'services.ts'].includes(file))
  .map((file) => basename(file, '.ts'));
const unknown = wanted.filter((name) => !known.includes(name));
if (unknown.length > 0) usage(`no benchmark ${unknown.join(', ')}\nhint: there are ${known.join(', ')}`);
const rounds = Number(options.rounds);
if (!Number.isInteger(rounds) || rounds < 1)
  usage(`expected --rounds to be a whole number above 0, got ${options.rounds}`);
if (options.compare !== undefined) {
  if (options.cluster) usage('--compare is for the benchmarks of one machine: a cluster runs one release');
  compareWith(options.compare, wanted, { rounds, json });
  process.exit(0);
}

// Inside the checkout, so that what the bundles leave out is found in node_modules.
const folder = mkdtempSync(join(resolve('node_modules'), '.bench-'));
// A bundle looks for the programs of its threads beside itself.
for (const program of ['password-worker.cjs', 'password-judge.cjs'])
  symlinkSync(resolve('dist', program), join(folder, program));
const results = {};
let failed = false;
try {
  for (const name of wanted.length > 0 ? wanted : known) {
    const file = join(folder, `${name}.cjs`);
    await build({
      stdin: {
        contents: `import { run } from './${home}/${name}.ts';
          run().then((rows) => process.stdout.write(JSON.stringify(rows), () => process.exit(0)), (error) => { console.error(error); process.exit(1); });`,
        resolveDir: process.cwd(),
        loader: 'ts',
      },
      outfile: file,
      bundle: true,
      platform: 'node',
      target: 'node20',
      external: ['@lydell/node-pty', '@electric-sql/pglite', 'pg-native', 'esbuild'],
      logLevel: 'warning',
    });
    process.stderr.write(`bench: ${name}\n`);
    try {
      const output = execFileSync(process.execPath, [file], {
        stdio: ['ignore', 'pipe', 'inherit'],
        maxBuffer: 1 << 26,
        env: { LOG_LEVEL: 'error', ...process.env, SLS_DIST: resolve('dist'), TMPDIR: tmpdir() },
      });
      results[name] = JSON.parse(output);
    } catch (error) {
      failed = true;
      process.stderr.write(`bench: ${name} failed: ${error.message}\n`);
      continue;
    }
    if (json) continue;
    for (const row of results[name]) {
      const value = row.value >= 100 ? Math.round(row.value).toLocaleString('en') : row.value.toFixed(2);
      process.stdout.write(
        `${name.padEnd(14)} ${row.name.padEnd(72)} ${value.padStart(10)} ${row.unit}${row.note ? `  (${row.note})` : ''}\n`,
      );
    }
  }
} finally {
  rmSync(folder, { recursive: true, force: true });
}
const machine = {
  node: process.version,
  cpu: cpus()[0]?.model,
  cores: cpus().length,
  memoryGiB: Math.round(totalmem() / 2 ** 30),
};
if (json) process.stdout.write(`${JSON.stringify({ machine, results }, null, 2)}\n`);
else
  process.stdout.write(
    `on ${machine.cpu}, ${machine.cores} cores, ${machine.memoryGiB} GiB, Node.js ${machine.node}\n`,
  );
process.exit(failed ? 1 : 0);

function readOptions() {
  try {
    return parseArgs({
      options: {
        json: { type: 'boolean', default: false },
        cluster: { type: 'boolean', default: false },
        compare: { type: 'string' },
        rounds: { type: 'string', default: '5' },
      },
      allowPositionals: true,
    });
  } catch (error) {
    return usage(error.message);
  }
}
