import { systemClock } from '../clock';
import type { Clock, Timer } from '../clock';

/**
 * Things of many owners that end by themselves, or make room: where there are too many, the oldest of the owner who has the most is cut, if that is more than the
 * newcomer has; otherwise the newcomer's own oldest. So whoever floods a server ends their own, and nobody ends another's who has as few.
 */
export class Bounded<T> {
  /** By owner, the oldest first. */
  private readonly timers = new Map<string, Map<T, Timer>>();
  private size = 0;

  constructor(
    private readonly most: number,
    private readonly cut: (thing: T) => void,
    private readonly clock: Clock = systemClock,
    private readonly ofOne = Infinity,
  ) {}

  add(thing: T, owner: string, ms: number): void {
    const timers = this.timers.get(owner) ?? new Map<T, Timer>();
    this.timers.set(owner, timers);
    timers.set(
      thing,
      this.clock.after(ms, () => this.end(thing, owner)),
    );
    this.size += 1;
    if (timers.size > this.ofOne) this.endOldest(owner, timers);
    if (this.size <= this.most) return;
    const [greediest, theirs] = [...this.timers].reduce(
      (one, other) => (other[1].size > one[1].size ? other : one),
      [owner, timers],
    );
    this.endOldest(greediest, theirs);
  }

  delete(thing: T, owner: string): void {
    const timers = this.timers.get(owner);
    if (!timers?.has(thing)) return;
    timers.get(thing)?.cancel();
    timers.delete(thing);
    if (timers.size === 0) this.timers.delete(owner);
    this.size -= 1;
  }

  private endOldest(owner: string, timers: Map<T, Timer>): void {
    this.end(timers.keys().next().value as T, owner);
  }

  private end(thing: T, owner: string): void {
    this.delete(thing, owner);
    this.cut(thing);
  }
}
