import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { promisify } from 'node:util';
import { build } from 'esbuild';
import { madeOnce } from './run-folder';

const run = promisify(execFile);
const repository = join(__dirname, '../..');

export interface EmbeddedProcess {
  /** What it said instead of starting; undefined when it serves. */
  failure?: string;
  url: string;
  kill(signal: NodeJS.Signals): Promise<void>;
}

/** The embedded database as a program of its own, bundled once. */
async function program(): Promise<string> {
  const folder = await madeOnce('embedded-program', async (draft) => {
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
      outfile: join(draft, 'main.cjs'),
      external: ['@electric-sql/pglite'],
    });
  });
  return join(folder, 'main.cjs');
}

/** PGlite loads its parts by import(), which jest's own module loader doesn't do: so it runs as on a real machine, in a process of its own. */
export async function startEmbeddedProcess(folder: string, socketFolder: string): Promise<EmbeddedProcess> {
  const child = spawn(process.execPath, [await program(), folder, socketFolder], {
    stdio: ['ignore', 'pipe', 'inherit'],
    env: { ...process.env, LOG_LEVEL: 'silent', NODE_PATH: join(repository, 'node_modules') },
  });
  const exited = once(child, 'exit');
  const first = await Promise.race([once(createInterface(child.stdout), 'line'), exited]);
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

/** Puts there the files of an embedded database as its first start makes them: that takes seconds, a copy doesn't. */
export async function copyEmbeddedDatabase(target: string): Promise<void> {
  const made = await madeOnce('embedded-database', async (draft) => {
    const { failure, kill } = await startEmbeddedProcess(join(draft, 'data'), join(draft, 'socket'));
    if (failure !== undefined) throw new Error(failure);
    await kill('SIGTERM');
  });
  await run('cp', ['-a', join(made, 'data'), target]);
}

/** An embedded PostgreSQL of the test's own, empty. */
export async function startEmbeddedTestPostgres(): Promise<{ url: string; stop(): Promise<void> }> {
  const root = await mkdtemp(join(tmpdir(), 'sls-embedded-'));
  await copyEmbeddedDatabase(join(root, 'data'));
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
