import { rename } from 'node:fs/promises';
import { startChild } from './child';
import type { Child } from './child';
import type { Installation } from './installation';
import { supervise } from './supervisor';
import type { Supervised } from './supervisor';
import type { Logger } from '../runtime/log/log';

interface ProgramsOptions {
  report(line: string): void;
  /** Ends starts that are under way. */
  signal: AbortSignal;
  logLevel: string;
  log: Logger;
  /** Refuses a start in a folder that isn't the installation's any more. */
  requireThere(): Promise<void>;
}

/** The programs of an installation, each kept running. */
export class Programs {
  private readonly running: Array<Supervised<Child>> = [];
  private readonly failing = new AbortController();
  private readonly signal: AbortSignal;

  constructor(
    private readonly installation: Installation,
    private readonly options: ProgramsOptions,
  ) {
    this.signal = AbortSignal.any([options.signal, this.failing.signal]);
  }

  /** @param before done before each start, the later ones included */
  async start(program: string, settings: Record<string, string>, before?: () => Promise<void>): Promise<void> {
    const { path, record } = this.installation;
    const { report, log, logLevel, requireThere } = this.options;
    report(`starting ${program}`);
    const logFile = path('log', `${program}.log`);
    await rotateLog(logFile);
    const start = async (): Promise<Child> => {
      await requireThere();
      await before?.();
      return startChild({
        program,
        settings: { LOG_LEVEL: logLevel, TRUST_DOMAIN: record.trustDomain, ...settings },
        readyFile: path('run', `${program}.ready`),
        logFile,
        signal: this.signal,
      });
    };
    this.running.push(await supervise(program, start, { report, log }));
  }

  /** Does several starts at once. The first failure ends the others, and is thrown when all of them have ended. */
  async together(starts: Array<() => Promise<void>>): Promise<void> {
    let failure: { error: unknown } | undefined;
    await Promise.all(
      starts.map((start) =>
        start().catch((error: unknown) => {
          failure ??= { error };
          this.failing.abort(error);
        }),
      ),
    );
    if (failure) throw failure.error;
  }

  async stop(): Promise<void> {
    await Promise.all(this.running.map((program) => program.stop()));
  }
}

/** Keeps the log of the run before this one beside the new one. */
export async function rotateLog(file: string): Promise<void> {
  await rename(file, `${file}.1`).catch(() => undefined);
}
