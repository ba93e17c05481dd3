import { systemClock } from '../runtime/clock';
import type { Clock } from '../runtime/clock';
import { Backoff } from '../runtime/backoff';
import { silent } from '../runtime/log/log';
import type { Logger } from '../runtime/log/log';

const RETRY = { firstMs: 200, mostMs: 30_000 };
/** Whoever lived this long starts anew with the first delay. */
const HEALTHY_MS = 60_000;

/** Something that runs and can end by itself: one of our programs, a software TPM. */
export interface Running {
  pid: number;
  exited: Promise<unknown>;
  stop(): Promise<void>;
}

export interface Supervised<T extends Running> {
  /** What runs now; undefined between a death and the next start. */
  current(): T | undefined;
  /** Ends it for good. */
  stop(): Promise<void>;
}

interface SuperviseOptions {
  /** One line for the person at the terminal. */
  report(line: string): void;
  /** Silent, unless told. */
  log?: Logger;
  /** The system's, unless told. */
  clock?: Clock;
}

/**
 * Starts something and starts it again whenever it ends, after a growing delay. The first start's failure is the caller's;
 * later ones are reported and tried again.
 */
export async function supervise<T extends Running>(
  name: string,
  start: () => Promise<T>,
  { report, log = silent, clock = systemClock }: SuperviseOptions,
): Promise<Supervised<T>> {
  const stopping = new AbortController();
  let running: T | undefined = await start();
  let startedAt = clock.monotonic();
  const backoff = new Backoff({ ...RETRY, clock });

  const keepAlive = async (): Promise<void> => {
    while (!stopping.signal.aborted) {
      if (running) {
        await running.exited;
        running = undefined;
        if (stopping.signal.aborted) return;
        if (clock.monotonic() - startedAt > HEALTHY_MS) backoff.reset();
        report(`${name} ended unexpectedly, starting it again`);
      }
      await backoff.wait(stopping.signal).catch(() => undefined);
      if (stopping.signal.aborted) return;
      try {
        startedAt = clock.monotonic();
        running = await start();
        report(`${name} runs again`);
      } catch (error) {
        log.error({ err: error }, 'restart failed');
        report(`${name} did not start again: ${(error as Error).message}`);
      }
    }
  };
  const loop = keepAlive();

  return {
    current: () => running,
    async stop() {
      stopping.abort();
      await running?.stop();
      await loop;
      // A start that was under way when stop was called.
      await running?.stop();
    },
  };
}
