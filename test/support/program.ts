import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { built } from './built';

export interface RunningProgram {
  pid: number;
  port: number;
  /** All that it listens on, by name. */
  ports: Record<string, number>;
  /** All that it has logged. */
  log(): string;
  /** Resident memory in MiB: now, and the most that it ever was. */
  memory(): Promise<{ now: number; peak: number }>;
  stop(): Promise<{ code: number | null }>;
}

/** Starts a program of dist/ as it is shipped, and waits until it serves. */
export async function startProgram(name: string, settings: Record<string, string>): Promise<RunningProgram> {
  const folder = await mkdtemp(join(tmpdir(), 'sls-program-'));
  const ready = join(folder, 'ready');
  const child = spawn(process.execPath, [built(name)], {
    env: { PATH: process.env['PATH'], READY_FILE: ready, ...settings },
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  const chunks: Buffer[] = [];
  child.stderr.on('data', (chunk: Buffer) => chunks.push(chunk));
  const log = (): string => Buffer.concat(chunks).toString('utf8');
  const exited = once(child, 'exit') as Promise<[number | null]>;
  while (!existsSync(ready)) {
    if (child.exitCode !== null) {
      await rm(folder, { recursive: true, force: true });
      throw new Error(`${name} ended with ${child.exitCode}: ${log()}`);
    }
    await sleep(20);
  }
  const { pid, ports } = JSON.parse(await readFile(ready, 'utf8')) as {
    pid: number;
    ports: Record<string, number> & { listen: number };
  };
  const field = (status: string, key: string): number =>
    Number(new RegExp(`${key}:\\s+(\\d+)`).exec(status)?.[1]) / 1024;
  return {
    pid,
    port: ports.listen,
    ports,
    log,
    async memory() {
      const status = await readFile(`/proc/${pid}/status`, 'utf8');
      return { now: field(status, 'VmRSS'), peak: field(status, 'VmHWM') };
    },
    async stop() {
      child.kill('SIGTERM');
      const [code] = await exited;
      await rm(folder, { recursive: true, force: true });
      return { code };
    },
  };
}
