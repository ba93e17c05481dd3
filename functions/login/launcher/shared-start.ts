import type { LoginStage } from '../../../proto/gen/licensing/v1/login';
import type { LaunchOptions } from './launcher';

type Waiter = Pick<LaunchOptions, 'onStage' | 'signal'>;

interface Start<T> {
  result: Promise<T>;
  stage: LoginStage | undefined;
  waiters: Set<Waiter>;
  over: AbortController;
}

/** Starts that several logins wait for, each of them watched once: how often somebody logs in while their enclave starts costs the cluster nothing. */
export class SharedStarts<T> {
  private readonly starts = new Map<string, Start<T>>();

  /**
   * Waits for a start, which is begun where nobody waits for it. It ends when nobody does any more.
   * @param key names what is started
   * @throws what `begin` throws; the signal's reason
   */
  async join(key: string, { onStage, signal }: Waiter, begin: (options: Waiter) => Promise<T>): Promise<T> {
    signal.throwIfAborted();
    const start = this.starts.get(key) ?? this.begin(key, begin);
    const waiter = { onStage, signal };
    start.waiters.add(waiter);
    if (start.stage !== undefined) onStage(start.stage);
    let leave = (): void => undefined;
    const left = new Promise<never>((_, reject) => {
      leave = (): void => reject(signal.reason as Error);
      signal.addEventListener('abort', leave, { once: true });
    });
    try {
      return await Promise.race([start.result, left]);
    } finally {
      signal.removeEventListener('abort', leave);
      start.waiters.delete(waiter);
      if (start.waiters.size === 0) this.end(key, start);
    }
  }

  private begin(key: string, begin: (options: Waiter) => Promise<T>): Start<T> {
    const over = new AbortController();
    const waiters = new Set<Waiter>();
    const tell = (stage: LoginStage): void => {
      start.stage = stage;
      for (const { onStage } of waiters) onStage(stage);
    };
    const start: Start<T> = {
      result: Promise.resolve().then(() => begin({ onStage: tell, signal: over.signal })),
      stage: undefined,
      waiters,
      over,
    };
    this.starts.set(key, start);
    const end = (): void => this.end(key, start);
    start.result.then(end, end);
    return start;
  }

  private end(key: string, start: Start<T>): void {
    // Whoever comes now begins another one.
    if (this.starts.get(key) === start) this.starts.delete(key);
    start.over.abort();
  }
}
