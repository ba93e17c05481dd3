import { setImmediate } from 'node:timers/promises';
import { FairQueue } from './queue';

export interface TurnSizes {
  /** Pieces of work that are done at the same time. */
  atOnce: number;
  /** Of those, of one owner. */
  ofOne: number;
  /** Pieces of work that wait. One more, and the owner who has the most here makes room: see FairQueue. */
  waiting: number;
}

interface Waiting {
  owner: string;
  begin(): void;
  refuse(): void;
}

/**
 * Work of many owners, who take turns: however much one of them brings, another one's waits for little of it. What has begun counts until it ends,
 * whether anybody still waits for it or not; what nobody waits for any more before it begins is never begun.
 */
export class Turns {
  private readonly queue: FairQueue<Waiting>;
  private readonly working = new Map<string, number>();
  private atWork = 0;

  /** @param full what is thrown where there is no room to wait */
  constructor(
    private readonly sizes: TurnSizes,
    private readonly full: () => Error,
  ) {
    this.queue = new FairQueue(sizes.waiting);
  }

  /** Pieces of work that wait. */
  get waiting(): number {
    return this.queue.length;
  }

  /** Does work in its owner's turn. @throws as `enter`; what the work throws */
  async take<T>(owner: string, signal: AbortSignal | undefined, work: () => Promise<T>): Promise<T> {
    const leave = await this.enter(owner, signal);
    try {
      return await work();
    } finally {
      leave();
    }
  }

  /**
   * Waits for the owner's turn.
   * @returns what ends it; called again it does nothing
   * @throws the signal's reason when that aborts before; what `full` gives
   */
  async enter(owner: string, signal?: AbortSignal): Promise<() => void> {
    signal?.throwIfAborted();
    const now = this.enterAtOnce(owner);
    if (now) return now;
    await new Promise<void>((resolve, reject) => {
      const aborted = (): void => {
        if (this.queue.remove(waiting, owner)) reject(signal?.reason as Error);
      };
      const settle = (then: () => void): void => {
        signal?.removeEventListener('abort', aborted);
        then();
      };
      const waiting: Waiting = {
        owner,
        begin: () => settle(resolve),
        refuse: () => settle(() => reject(this.full())),
      };
      const { taken, gone } = this.queue.push(waiting, owner);
      gone?.refuse();
      if (taken) signal?.addEventListener('abort', aborted, { once: true });
      else waiting.refuse();
    });
    const leave = this.leaving(owner);
    // What others bring meanwhile is heard before a queue of short work is worked off in one go.
    await setImmediate();
    if (signal?.aborted) {
      leave();
      throw signal.reason;
    }
    return leave;
  }

  /** As `enter`, where nothing has to be waited for; undefined otherwise. */
  enterAtOnce(owner: string): (() => void) | undefined {
    return this.mayBegin(owner) ? this.begin(owner) : undefined;
  }

  private mayBegin(owner: string): boolean {
    return this.atWork < this.sizes.atOnce && (this.working.get(owner) ?? 0) < this.sizes.ofOne;
  }

  private begin(owner: string): () => void {
    this.atWork += 1;
    this.working.set(owner, (this.working.get(owner) ?? 0) + 1);
    return this.leaving(owner);
  }

  private leaving(owner: string): () => void {
    let left = false;
    return () => {
      if (left) return;
      left = true;
      this.atWork -= 1;
      const others = (this.working.get(owner) ?? 0) - 1;
      if (others > 0) this.working.set(owner, others);
      else this.working.delete(owner);
      this.dispatch();
    };
  }

  private dispatch(): void {
    while (this.atWork < this.sizes.atOnce) {
      const next = this.queue.shift((owner) => this.mayBegin(owner));
      if (!next) return;
      this.begin(next.owner);
      next.begin();
    }
  }
}
