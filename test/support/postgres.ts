import { execFile, spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync } from 'node:fs';
import { chown, mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import pg from 'pg';

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

export interface TestPostgres {
  /** Of an empty database that nobody else uses. */
  url: string;
  /** False for a server that isn't ours to stop. */
  canRestart: boolean;
  /** Kills the server as a crash does: clients' connections break. */
  kill(): Promise<void>;
  start(): Promise<void>;
  stop(): Promise<void>;
}

/** A PostgreSQL server of the test's own in a temporary folder, on a unix socket; or a new database on SLS_TEST_DATABASE_URL. */
export async function startTestPostgres(): Promise<TestPostgres> {
  const external = process.env['SLS_TEST_DATABASE_URL'];
  if (external !== undefined) return createDatabase(external);
  if (programs === undefined) throw new Error(noPostgres);
  const bin = programs;
  const root = await mkdtemp(join(tmpdir(), 'sls-postgres-'));
  const data = join(root, 'data');
  const sockets = join(root, 'socket');
  const isRoot = process.getuid?.() === 0;
  await mkdir(data, { mode: 0o700 });
  await mkdir(sockets, { mode: 0o700 });
  const account = isRoot ? { uid: NOBODY, gid: NOBODY } : {};
  if (isRoot) for (const folder of [root, data, sockets]) await chown(folder, NOBODY, NOBODY);
  await run(join(bin, 'initdb'), ['-D', data, '-U', 'postgres', '-A', 'trust', '--no-sync', '-E', 'UTF8'], {
    ...account,
    cwd: root,
  });

  let server: ChildProcess | undefined;
  const url = `postgres://postgres@/postgres?host=${encodeURIComponent(sockets)}`;
  const start = async (): Promise<void> => {
    const args = ['-D', data, '-k', sockets, '-c', 'listen_addresses=', '-c', 'fsync=off', '-c', 'max_connections=40'];
    const child = spawn(join(bin, 'postgres'), args, { ...account, cwd: root, stdio: 'ignore' });
    server = child;
    for (const deadline = Date.now() + 20_000; ; await sleep(50)) {
      const client = new pg.Client(url);
      const up = await client.connect().then(
        () => true,
        () => false,
      );
      await client.end().catch(() => undefined);
      if (up) return;
      if (child.exitCode !== null || Date.now() > deadline) throw new Error('PostgreSQL did not start');
    }
  };
  const end = async (signal: NodeJS.Signals): Promise<void> => {
    if (!server || server.exitCode !== null || server.signalCode !== null) return;
    const exited = once(server, 'exit');
    server.kill(signal);
    await exited;
  };
  await start();
  return {
    url,
    canRestart: true,
    // SIGQUIT is PostgreSQL's immediate shutdown: no goodbye to clients, recovery at the next start.
    kill: () => end('SIGQUIT'),
    start,
    async stop() {
      await end('SIGQUIT');
      await rm(root, { recursive: true, force: true });
    },
  };
}

async function createDatabase(external: string): Promise<TestPostgres> {
  const name = `sls_test_${process.pid}_${Date.now()}`;
  const admin = async (text: string): Promise<void> => {
    const client = new pg.Client(external);
    await client.connect();
    await client.query(text);
    await client.end();
  };
  await admin(`CREATE DATABASE ${name}`);
  const url = new URL(external);
  url.pathname = `/${name}`;
  const refuse = (): Promise<void> => Promise.reject(new Error('this server is not ours to restart'));
  return {
    url: url.toString(),
    canRestart: false,
    kill: refuse,
    start: refuse,
    stop: () => admin(`DROP DATABASE ${name} WITH (FORCE)`),
  };
}
