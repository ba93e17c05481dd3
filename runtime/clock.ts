import { setTimeout as sleep } from 'node:timers/promises';

/** Something that a clock will do. */
export interface Timer {
  /** Calls it off. That it has happened already is no error. */
  cancel(): void;
}

/**
 * What time it is, and what happens when it has passed. Whoever waits, or compares times, is given one: a program gets `systemClock`,
 * a test one that it moves itself.
 */
export interface Clock {
  /** Unix milliseconds. May jump, forwards and back: administrators and NTP set it. */
  now(): number;
  /** Milliseconds since some moment. Never goes back: for durations. */
  monotonic(): number;
  /** Calls `then` once, `ms` milliseconds later, however many these are. Doesn't keep the process running. */
  after(ms: number, then: () => void): Timer;
  /** Keeps the process running. @throws the signal's reason as soon as that aborts */
  sleep(ms: number, signal?: AbortSignal): Promise<void>;
}

/** Node's timers take no more (2³¹ - 1 ms are 24 days): a larger number would fire at once. */
const MAX_TIMER_MS = 2 ** 31 - 1;

export const systemClock: Clock = {
  now: () => Date.now(),
  monotonic: () => performance.now(),
  after(ms, then) {
    let timer: NodeJS.Timeout;
    const wait = (left: number): void => {
      const part = Math.min(left, MAX_TIMER_MS);
      timer = setTimeout(() => (left > part ? wait(left - part) : then()), part).unref();
    };
    wait(Math.max(0, ms));
    return { cancel: () => clearTimeout(timer) };
  },
  async sleep(ms, signal) {
    try {
      await sleep(ms, undefined, { signal });
    } catch (error) {
      signal?.throwIfAborted();
      throw error;
    }
  },
};

/** What a clock shows, as a Date. */
export function dateOf(clock: Clock): Date {
  return new Date(clock.now());
}

/** What a clock shows, in whole Unix seconds: as tokens and messages have it. */
export function unixSecondsOf(clock: Clock): number {
  return Math.floor(clock.now() / 1000);
}

/** How often a wait for a time of day looks at it: timers stand still while their machine is suspended, and don't know of a clock that was set. */
const LOOK_MS = 30_000;

/** Calls `then` once the clock shows `time` (Unix milliseconds) or later, at most half a minute after it does. Doesn't keep the process running. */
export function at(clock: Clock, time: number, then: () => void): Timer {
  let timer: Timer;
  const wait = (): void => {
    const left = Math.max(0, time - clock.now());
    timer = clock.after(Math.min(left, LOOK_MS), () => (clock.now() >= time ? then() : wait()));
  };
  wait();
  return { cancel: () => timer.cancel() };
}

/** True of what was made at `madeAt` (Unix milliseconds) and counts for `ms`. Not of what a clock that has since been put back says was made later than now. */
export function isYounger(clock: Clock, madeAt: number, ms: number): boolean {
  const age = clock.now() - madeAt;
  return age >= 0 && age < ms;
}

/** Calls `work` every `ms` milliseconds until it is cancelled. Doesn't keep the process running. */
export function every(clock: Clock, ms: number, work: () => void): Timer {
  let timer: Timer;
  const next = (): void => {
    timer = clock.after(ms, () => {
      next();
      work();
    });
  };
  next();
  return { cancel: () => timer.cancel() };
}
