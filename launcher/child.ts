import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { existsSync } from 'node:fs';
import { open, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { distFolder } from '../runtime/config/dist';
import { LauncherError } from './errors';
import { systemClock } from '../runtime/clock';
import { CodedError } from '../errors/coded-error';
import { inheritedEnvironment } from './inherited-environment';
import { readableText, readText } from '../runtime/text/utf8';

/** How long a program may take until it serves. At its first start the attestor makes keys in the TPM, which may take two minutes each, and enrols. */
const READY_TIMEOUT_MS = 300_000;
/** How long a program may take to stop after SIGTERM. */
const STOP_TIMEOUT_MS = 8_000;

interface ChildOptions {
  /** Name of the program: dist/NAME.cjs. */
  program: string;
  /** Its settings. Of this process's environment nothing else goes with them than `INHERITED_ENVIRONMENT`. */
  settings: Record<string, string>;
  /** Where READY_FILE is made. */
  readyFile: string;
  logFile: string;
  /** What runs it instead of this process's Node and the program's file. */
  command?: readonly string[];
  /** Open descriptors that it gets as 3, 4 and so on. */
  descriptors?: readonly number[];
  /** Told once it has them, or never will. */
  onSpawned?(): void;
  /** It is in a sandbox: it knows itself by another process id, and no signal reaches it, so that it is asked to stop by the end of its input (runtime/rpc/parent.ts). */
  enclosed?: boolean;
  signal?: AbortSignal;
}

interface Exit {
  code: number | null;
  signal: NodeJS.Signals | null;
}

export interface Child {
  pid: number;
  /** As in its ready file. */
  ports: Record<string, number>;
  exited: Promise<Exit>;
  /** SIGTERM, then SIGKILL. */
  stop(): Promise<void>;
}

/**
 * Starts one of our programs and waits until it serves. It ends with this process, even when this one is killed: see runtime/rpc/parent.ts.
 * @throws LauncherError launcher.start_failed with the program's own last words; whatever `signal` was aborted with
 */
export async function startChild(options: ChildOptions): Promise<Child> {
  const file = join(distFolder(), `${options.program}.cjs`);
  if (!existsSync(file))
    throw new LauncherError('launcher.not_built', `expected ${file} to be there`, 'run: npm run build');
  options.signal?.throwIfAborted();
  await rm(options.readyFile, { force: true });
  const log = await open(options.logFile, 'a', 0o600);
  const logStart = (await log.stat()).size;
  let child: ChildProcess;
  try {
    const [command = process.execPath, ...args] = options.command ?? [process.execPath, file];
    child = spawn(command, args, {
      // A group of its own: Ctrl-C at the terminal reaches the launcher alone, which ends everything in order.
      detached: true,
      cwd: '/',
      stdio: ['pipe', log.fd, log.fd, ...(options.descriptors ?? [])],
      env: {
        ...inheritedEnvironment(process.env),
        ...options.settings,
        SLS_PROGRAM: options.program,
        READY_FILE: options.settings['READY_FILE'] ?? options.readyFile,
        PARENT_PIPE: '0',
      },
    });
  } finally {
    await log.close();
    options.onSpawned?.();
  }
  child.stdin?.on('error', () => undefined);
  const exited = new Promise<Exit>((done) => {
    child.once('error', () => done({ code: 1, signal: null }));
    child.once('exit', (code, signal) => done({ code, signal }));
  });
  const stop = async (): Promise<void> => {
    if (options.enclosed === true) child.stdin?.end();
    else child.kill('SIGTERM');
    const force = setTimeout(() => child.kill('SIGKILL'), STOP_TIMEOUT_MS);
    await exited;
    clearTimeout(force);
  };
  try {
    const ports = await ready(options, child.pid, exited);
    return { pid: child.pid ?? 0, ports, exited, stop };
  } catch (error) {
    await stop();
    if (!(error instanceof NotReady)) throw error;
    const words = await lastWords(options.logFile, logStart);
    throw new LauncherError(
      'launcher.start_failed',
      `${options.program} ${error.message}${words && `: ${words}`}`,
      `see ${options.logFile}`,
    );
  }
}

class NotReady extends CodedError<'internal.child_not_ready'> {}

async function ready(
  options: ChildOptions,
  pid: number | undefined,
  exited: Promise<Exit>,
): Promise<Record<string, number>> {
  let exit: Exit | undefined;
  void exited.then((value) => (exit = value));
  const deadline = systemClock.monotonic() + READY_TIMEOUT_MS;
  for (;;) {
    const text = await readText(options.readyFile).catch(() => undefined);
    const report =
      text === undefined ? undefined : (JSON.parse(text) as { pid: number; ports: Record<string, number> });
    if (report !== undefined && (report.pid === pid || options.enclosed === true)) return report.ports;
    if (exit) throw new NotReady('internal.child_not_ready', `ended at its start (${describeExit(exit)})`);
    if (systemClock.monotonic() > deadline)
      throw new NotReady('internal.child_not_ready', `did not start within ${READY_TIMEOUT_MS / 1000} s`);
    await systemClock.sleep(15);
    options.signal?.throwIfAborted();
  }
}

/** "exit code 1" or "SIGKILL". */
export function describeExit({ code, signal }: Exit): string {
  return signal ?? `exit code ${code ?? 'unknown'}`;
}

/** The reason in the last error of a log of JSON lines. */
async function lastWords(logFile: string, from: number): Promise<string> {
  const text = readableText(await readFile(logFile).catch(() => Buffer.alloc(0))).slice(from);
  for (const line of text.trim().split('\n').reverse()) {
    try {
      const entry = JSON.parse(line) as { level: number; reason?: string; err?: { message?: string }; msg?: string };
      if (entry.level >= 50) return entry.reason ?? entry.err?.message ?? entry.msg ?? '';
    } catch {
      if (/^\w*Error: /.test(line)) return line;
    }
  }
  return '';
}
