// Bundles every program into one file each: what starts from zero must load fast.
import { mkdirSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { basename } from 'node:path';
import { build } from 'esbuild';

const programs = {
  signup: 'functions/signup/main.ts',
  login: 'functions/login/main.ts',
  enrol: 'functions/enrol/main.ts',
  admin: 'functions/admin/main.ts',
  reaper: 'functions/login/reaper/main.ts',
  'attestor-daemon': 'attestor-daemon/main.ts',
  enclave: 'enclave/main.ts',
  'password-worker': 'licensing/passwords/worker.ts',
  'password-judge': 'licensing/passwords/judge-worker.ts',
  'cluster-install': 'knative/installer/main.ts',
  sls: 'client/cli/main.ts',
  client: 'client/index.ts',
};

const { metafile, outputFiles } = await build({
  write: false,
  entryPoints: programs,
  outdir: 'dist',
  outExtension: { '.js': '.cjs' },
  bundle: true,
  platform: 'node',
  target: 'node20',
  format: 'cjs',
  sourcemap: 'linked',
  minifySyntax: true,
  logLevel: 'warning',
  metafile: true,
  // These load files of their own at run time: a native module and WebAssembly.
  external: ['@lydell/node-pty', '@electric-sql/pglite', 'pg-native'],
});
mkdirSync('dist', { recursive: true });
// Written beside its place and then renamed: a program that starts from here meanwhile reads the one or the other, whole.
for (const { path, contents } of outputFiles) {
  writeFileSync(`${path}.new`, contents, { mode: basename(path) === 'sls.cjs' ? 0o755 : 0o644 });
  renameSync(`${path}.new`, path);
}
// What an earlier build left. Not cleared before: a program that runs from here meanwhile would miss its files.
for (const name of readdirSync('dist')) {
  if (metafile.outputs[`dist/${name}`] === undefined) rmSync(`dist/${name}`, { recursive: true });
}
