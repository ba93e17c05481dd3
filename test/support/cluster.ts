import { execFile, spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync } from 'node:fs';
import { chmod, chown, mkdir, mkdtemp } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import pg from 'pg';
import { runFolder } from './run-folder';

const run = promisify(execFile);

/** Where Debian keeps PostgreSQL's own programs: one folder for each major version, none of them on PATH. */
const DEBIAN = '/usr/lib/postgresql';

/** An unprivileged account to run as, because PostgreSQL refuses root. */
const NOBODY = 65534;

function installedPrograms(): string | undefined {
  if (!existsSync(DEBIAN)) return undefined;
  const versions = readdirSync(DEBIAN).sort((a, b) => Number(b) - Number(a));
  return versions.map((version) => join(DEBIAN, version, 'bin')).find((folder) => existsSync(join(folder, 'postgres')));
}

const programs = installedPrograms();

/** Why there is no real PostgreSQL for a test; undefined where there is one. */
export const noPostgres =
  programs === undefined && process.env['SLS_TEST_DATABASE_URL'] === undefined
    ? `no PostgreSQL in ${DEBIAN} and no SLS_TEST_DATABASE_URL: tests on a real PostgreSQL server are skipped`
    : undefined;

/** A PostgreSQL server of our own in the run's folder, on a unix socket. */
export interface Cluster {
  /** Of the database `postgres`. */
  url: string;
  start(): Promise<void>;
  /** SIGQUIT is PostgreSQL's immediate shutdown: no goodbye to clients, recovery at the next start. */
  kill(): Promise<void>;
}

export async function startCluster(): Promise<Cluster> {
  if (programs === undefined) throw new Error(noPostgres);
  const bin = programs;
  await chmod(runFolder(), 0o711);
  const root = await mkdtemp(join(runFolder(), 'postgres-'));
  const data = join(root, 'data');
  const sockets = join(root, 'socket');
  const isRoot = process.getuid?.() === 0;
  await mkdir(data, { mode: 0o700 });
  await mkdir(sockets, { mode: 0o700 });
  const account = isRoot ? { uid: NOBODY, gid: NOBODY } : {};
  if (isRoot) for (const folder of [root, data, sockets]) await chown(folder, NOBODY, NOBODY);
  const initdb = ['-D', data, '-U', 'postgres', '-A', 'trust', '--no-sync', '-E', 'UTF8', '--no-instructions'];
  await run(join(bin, 'initdb'), initdb, { ...account, cwd: root });

  const url = `postgres://postgres@/postgres?host=${encodeURIComponent(sockets)}`;
  const settings = ['listen_addresses=', 'fsync=off', 'full_page_writes=off', 'max_connections=120'];
  let server: ChildProcess | undefined;
  const kill = async (): Promise<void> => {
    if (!server || server.exitCode !== null || server.signalCode !== null) return;
    server.ref();
    const exited = once(server, 'exit');
    server.kill('SIGQUIT');
    await exited;
  };
  const start = async (): Promise<void> => {
    const child = spawn(
      'setpriv',
      // It ends with this process, however that ends.
      ['--pdeathsig', 'QUIT', join(bin, 'postgres'), '-D', data, '-k', sockets, ...settings.flatMap((s) => ['-c', s])],
      { ...account, cwd: root, stdio: 'ignore' },
    );
    child.unref();
    server = child;
    for (const deadline = Date.now() + 60_000; ; await sleep(20)) {
      const up = await administer(url).then(
        () => true,
        () => false,
      );
      if (up) return;
      if (child.exitCode !== null || Date.now() > deadline) throw new Error('PostgreSQL did not start');
    }
  };
  await start();
  process.once('exit', () => server?.kill('SIGQUIT'));
  return { url, start, kill };
}

/** Runs statements, one after the other, each outside a transaction. */
export async function administer(url: string, ...statements: string[]): Promise<void> {
  const client = new pg.Client(url);
  // It may be killed while we are connected.
  client.on('error', () => undefined);
  try {
    await client.connect();
    for (const statement of statements) await client.query(statement);
  } finally {
    await client.end().catch(() => undefined);
  }
}

let shared: Promise<string> | undefined;

/** The URL of one server for all test files of this process, started by the first that asks. */
export function sharedCluster(): Promise<string> {
  const external = process.env['SLS_TEST_DATABASE_URL'];
  return (shared ??= external === undefined ? startCluster().then(({ url }) => url) : Promise.resolve(external));
}
