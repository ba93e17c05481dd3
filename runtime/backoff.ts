import { systemClock } from './clock';
import type { Clock } from './clock';

export interface BackoffOptions {
  /** Milliseconds before the second try, at most; each wait after it may be twice as long. */
  firstMs: number;
  /** No wait is longer. */
  mostMs: number;
  clock?: Clock;
  /** From 0 to below 1, evenly. */
  random?: () => number;
}

/**
 * Waits between tries: exponential, with jitter. Each is between a half and the whole of its step, so that those who failed together don't come
 * back together.
 */
export class Backoff {
  private step: number;

  constructor(private readonly options: BackoffOptions) {
    this.step = options.firstMs;
  }

  /** Milliseconds to wait before the next try. The one after that waits longer. */
  next(): number {
    const { mostMs, random = Math.random } = this.options;
    const step = Math.min(this.step, mostMs);
    this.step = Math.min(step * 2, mostMs);
    return step * (0.5 + random() / 2);
  }

  /** A try has succeeded: the next failure waits as the first did. */
  reset(): void {
    this.step = this.options.firstMs;
  }

  /** Waits for the next try. @throws the signal's reason as soon as that aborts */
  wait(signal?: AbortSignal): Promise<void> {
    const { clock = systemClock } = this.options;
    return clock.sleep(this.next(), signal);
  }
}
