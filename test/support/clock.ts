import { setImmediate } from 'node:timers/promises';
import { systemClock } from '../../runtime/clock';
import type { Clock, Timer } from '../../runtime/clock';

interface Due {
  at: number;
  then(): void;
}

/**
 * A clock that stands until its test moves it. What the code under test does in between is real (files, sockets, SQL), so a test first waits until
 * that waits for the clock (`untilWaiting`), and then moves it.
 */
export class TestClock implements Clock {
  private readonly due = new Set<Due>();
  private readonly watchers = new Set<() => void>();
  private elapsed = 0;
  /** Of the time of day against what has elapsed. */
  private offset: number;

  /** @param start a date, or Unix milliseconds; now, unless told: keys and certificates of a test are made by the real clock */
  constructor(start: Date | number = Date.now()) {
    this.offset = Number(start);
  }

  now(): number {
    return this.offset + this.elapsed;
  }

  monotonic(): number {
    return this.elapsed;
  }

  after(ms: number, then: () => void): Timer {
    const due = { at: this.elapsed + Math.max(0, ms), then };
    this.due.add(due);
    for (const look of this.watchers) look();
    return { cancel: () => void this.due.delete(due) };
  }

  sleep(ms: number, signal?: AbortSignal): Promise<void> {
    return sleepBy(this, ms, signal);
  }

  /** How long until each of the things that wait, in milliseconds, the next one first. */
  get waits(): number[] {
    return [...this.due].map(({ at }) => at - this.elapsed).sort((a, b) => a - b);
  }

  /** Resolves as soon as `count` things wait for this clock. */
  async untilWaiting(count = 1): Promise<void> {
    if (this.due.size >= count) return;
    await new Promise<void>((resolve) => {
      const look = (): void => {
        if (this.due.size < count) return;
        this.watchers.delete(look);
        resolve();
      };
      this.watchers.add(look);
    });
  }

  /** Moves on. What is due on the way happens at its time, in its order, and gets a turn of the event loop before the next. */
  async advance(ms: number): Promise<void> {
    const end = this.elapsed + ms;
    for (;;) {
      const [next] = [...this.due].filter(({ at }) => at <= end).sort((a, b) => a.at - b.at);
      if (!next) break;
      this.elapsed = next.at;
      this.due.delete(next);
      next.then();
      await setImmediate();
    }
    this.elapsed = end;
    await setImmediate();
  }

  /** Sets the time of day, forwards or back, as an administrator or NTP does: nothing that waits comes sooner or later by it. */
  set(time: Date | number): void {
    this.offset = Number(time) - this.elapsed;
  }
}

/**
 * The machine's clock, which its test may move ahead: for programs whose certificates and messages the real clock makes, and of whose many waits the
 * test is about one.
 */
export class MovedClock implements Clock {
  private readonly due = new Map<Due, Timer>();
  private ahead = 0;

  now(): number {
    return systemClock.now() + this.ahead;
  }

  monotonic(): number {
    return systemClock.monotonic() + this.ahead;
  }

  after(ms: number, then: () => void): Timer {
    const due = { at: this.monotonic() + Math.max(0, ms), then: () => this.happen(due, then) };
    this.due.set(due, systemClock.after(ms, due.then));
    return { cancel: () => this.forget(due) };
  }

  sleep(ms: number, signal?: AbortSignal): Promise<void> {
    return sleepBy(this, ms, signal);
  }

  /** Moves on, and what is due on the way happens. */
  advance(ms: number): void {
    this.ahead += ms;
    const late = [...this.due.keys()].filter(({ at }) => at <= this.monotonic()).sort((a, b) => a.at - b.at);
    for (const { then } of late) then();
  }

  /** Lets time pass, a second in each turn of the event loop, until the work has ended. @returns its result */
  async passUntil<T>(work: Promise<T>): Promise<T> {
    let ended = false;
    const end = (): void => void (ended = true);
    work.then(end, end);
    while (!ended) {
      this.advance(1_000);
      await setImmediate();
    }
    return work;
  }

  private happen(due: Due, then: () => void): void {
    if (!this.due.has(due)) return;
    this.forget(due);
    then();
  }

  private forget(due: Due): void {
    this.due.get(due)?.cancel();
    this.due.delete(due);
  }
}

function sleepBy(clock: Clock, ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) return reject(signal.reason as Error);
    const aborted = (): void => {
      timer.cancel();
      reject(signal?.reason as Error);
    };
    const timer = clock.after(ms, () => {
      signal?.removeEventListener('abort', aborted);
      resolve();
    });
    signal?.addEventListener('abort', aborted, { once: true });
  });
}
