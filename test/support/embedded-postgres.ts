import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { build } from 'esbuild';

const repository = join(__dirname, '../..');

export interface EmbeddedProcess {
  /** What it said instead of starting; undefined when it serves. */
  failure?: string;
  url: string;
  kill(signal: NodeJS.Signals): Promise<void>;
}

/** PGlite loads its parts by import(), which jest's own module loader doesn't do: so it runs as on a real machine, in a process of its own. */
export async function startEmbeddedProcess(folder: string, socketFolder: string): Promise<EmbeddedProcess> {
  // Beside node_modules' packages, because PGlite is left unbundled and found from there.
  const cache = join(repository, 'node_modules/.cache');
  await mkdir(cache, { recursive: true });
  const program = join(await mkdtemp(join(cache, 'embedded-')), 'main.cjs');
  await build({
    stdin: {
      contents: `
        import { startEmbeddedPostgres } from './launcher/postgres/embedded';
        startEmbeddedPostgres(process.argv[2], process.argv[3]).then(
          ({ url, stop }) => {
            process.on('SIGTERM', () => stop().then(() => process.exit(0)));
            console.log(JSON.stringify({ url }));
          },
          (error) => console.log(JSON.stringify({ url: '', failure: error.message })));`,
      resolveDir: repository,
      loader: 'ts',
    },
    bundle: true,
    platform: 'node',
    format: 'cjs',
    outfile: program,
    external: ['@electric-sql/pglite'],
  });
  const child = spawn(process.execPath, [program, folder, socketFolder], {
    stdio: ['ignore', 'pipe', 'inherit'],
    env: { ...process.env, LOG_LEVEL: 'silent' },
  });
  const exited = once(child, 'exit');
  const first = await Promise.race([once(createInterface(child.stdout), 'line'), exited]);
  await rm(join(program, '..'), { recursive: true, force: true });
  const { url, failure } =
    typeof first[0] === 'string' ? (JSON.parse(first[0]) as EmbeddedProcess) : { url: '', failure: 'it ended' };
  return {
    url,
    failure,
    async kill(signal) {
      child.kill(signal);
      await exited;
    },
  };
}

/** An embedded PostgreSQL of the test's own. */
export async function startEmbeddedTestPostgres(): Promise<{ url: string; stop(): Promise<void> }> {
  const root = await mkdtemp(join(tmpdir(), 'sls-embedded-'));
  const { url, failure, kill } = await startEmbeddedProcess(join(root, 'data'), join(root, 'socket'));
  if (failure !== undefined) throw new Error(failure);
  return {
    url,
    async stop() {
      await kill('SIGTERM');
      await rm(root, { recursive: true, force: true });
    },
  };
}
