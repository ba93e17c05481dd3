// Bundles every program into one file each: what starts from zero must load fast.
import { execFileSync } from 'node:child_process';
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

/**
 * Of the Kubernetes client library the configuration alone is used (runtime/kubernetes/kube-config.ts). Its package doesn't say that its modules do
 * nothing when they are loaded, so that all of its API, 15 MB, would be bundled with it.
 */
const kubernetesClient = {
  name: 'kubernetes-client',
  setup({ onResolve, resolve }) {
    onResolve({ filter: /./ }, async ({ path, pluginData, ...from }) => {
      const isInside = from.resolveDir.includes('/@kubernetes/client-node');
      if (pluginData === 'resolving' || (!isInside && path !== '@kubernetes/client-node')) return undefined;
      const { importer, kind, resolveDir } = from;
      const found = await resolve(path, { importer, kind, resolveDir, pluginData: 'resolving' });
      return found.path.includes('/@kubernetes/client-node/') ? { ...found, sideEffects: false } : found;
    });
  },
};

/** Of this checkout, with a mark where files differ from it; elsewhere SLS_COMMIT, as in a build of an unpacked archive. */
function commit() {
  const git = (...args) => execFileSync('git', args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).trim();
  try {
    // A checkout of something else may lie around this folder.
    if (git('ls-files', 'scripts/build.mjs') === '') throw new Error('not a checkout');
    const changed = git('status', '--porcelain', '--untracked-files=no') === '' ? '' : '-changed';
    return `${git('rev-parse', '--short=12', 'HEAD')}${changed}`;
  } catch {
    return process.env.SLS_COMMIT || 'unknown';
  }
}

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
  define: { SLS_COMMIT: JSON.stringify(commit()) },
  metafile: true,
  plugins: [kubernetesClient],
  // These load files of their own at run time: a native module and WebAssembly.
  external: ['@lydell/node-pty', '@electric-sql/pglite', 'pg-native'],
});
/**
 * How sls starts: a line for the shell that is a string and a comment for Node. Node forgets at its start which signals are ignored, as SIGHUP is after
 * nohup, so the shell tells it (client/cli/ignored-signals.ts); by itself alone and only where the system says it, for it to cost next to nothing.
 */
const SLS_START = `#!/bin/sh
':' //; if [ -r /proc/$$/status ]; then while read -r k v; do if [ "$k" = SigIgn: ]; then SLS_IGNORED_SIGNALS=$v; export SLS_IGNORED_SIGNALS; fi; done </proc/$$/status; fi; exec /usr/bin/env node "$0" "$@"
`;
function started(name, contents) {
  if (name === 'sls.cjs') return Buffer.concat([Buffer.from(SLS_START), contents.subarray(contents.indexOf(10) + 1)]);
  if (name !== 'sls.cjs.map') return contents;
  const map = JSON.parse(Buffer.from(contents).toString('utf8'));
  // A line more.
  return JSON.stringify({ ...map, mappings: `;${map.mappings}` });
}

mkdirSync('dist', { recursive: true });
// Written beside its place and then renamed: a program that starts from here meanwhile reads the one or the other, whole.
for (const { path, contents: built } of outputFiles) {
  const contents = started(basename(path), built);
  writeFileSync(`${path}.new`, contents, { mode: basename(path) === 'sls.cjs' ? 0o755 : 0o644 });
  renameSync(`${path}.new`, path);
}
// What an earlier build left. Not cleared before: a program that runs from here meanwhile would miss its files.
for (const name of readdirSync('dist')) {
  if (metafile.outputs[`dist/${name}`] === undefined) rmSync(`dist/${name}`, { recursive: true });
}
