/** Queues what waits while a batch is worked on; the next batch takes all of it, up to its limit. */
export class GroupCommit<Item, Result> {
  private waiting: Waiting<Item, Result>[] = [];
  private working = false;

  /**
   * @param work answers a batch: one result for each item, in order
   * @param limits.batch items of one batch at most; limits.waiting: items that may wait at most
   */
  constructor(
    private readonly work: (items: Item[]) => Promise<Result[]>,
    private readonly limits: { batch: number; waiting: number },
  ) {}

  /** True when another item would be one too many. */
  get full(): boolean {
    return this.waiting.length >= this.limits.waiting;
  }

  /** Resolves with the item's result. An item whose `signal` is aborted before its batch starts is dropped, and its promise rejects. */
  add(item: Item, signal?: AbortSignal): Promise<Result> {
    return new Promise((resolve, reject) => {
      this.waiting.push({ item, signal, resolve, reject });
      this.start();
    });
  }

  private start(): void {
    if (this.working) return;
    this.working = true;
    // Requests that arrive in one turn of the event loop come into the first batch together.
    setImmediate(() => void this.drain());
  }

  private async drain(): Promise<void> {
    while (this.waiting.length > 0) {
      const batch: Waiting<Item, Result>[] = [];
      for (const entry of this.waiting.splice(0, this.limits.batch)) {
        if (entry.signal?.aborted) entry.reject(entry.signal.reason as Error);
        else batch.push(entry);
      }
      if (batch.length === 0) continue;
      try {
        const results = await this.work(batch.map(({ item }) => item));
        batch.forEach((entry, at) => entry.resolve(results[at] as Result));
      } catch (error) {
        for (const entry of batch) entry.reject(error as Error);
      }
    }
    this.working = false;
  }
}

interface Waiting<Item, Result> {
  item: Item;
  signal: AbortSignal | undefined;
  resolve(result: Result): void;
  reject(error: Error): void;
}
