import { setImmediate } from 'node:timers/promises';

/**
 * One call after another of each user: to verify evidence takes this program's whole attention, and a seat's row the others' that wait for it. Whoever
 * asks without end waits for themselves, and everyone else for one of their calls at most.
 */
export class Turns {
  private readonly last = new Map<string, Promise<void>>();

  /** @param signal of the caller: where it has aborted by then, nothing is done. @throws what `work` throws; the signal's reason */
  async take<T>(user: string, signal: AbortSignal, work: () => Promise<T>): Promise<T> {
    const before = this.last.get(user);
    const result = (async () => {
      if (before !== undefined) {
        await before;
        // What came for others meanwhile is first.
        await setImmediate();
      }
      signal.throwIfAborted();
      return work();
    })();
    const ended = result.then(
      () => undefined,
      () => undefined,
    );
    this.last.set(user, ended);
    try {
      return await result;
    } finally {
      if (this.last.get(user) === ended) this.last.delete(user);
    }
  }
}
