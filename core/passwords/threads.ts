import { Worker } from 'node:worker_threads';
import { status } from '@grpc/grpc-js';
import { logger } from '../log/logger';
import { RpcError } from '../rpc/errors';
import type { Answer, Work } from './work';

export interface ThreadsOptions {
  /** Bundle of core/passwords/worker.ts. */
  program: string;
  /** Threads at most; each is started when it is first needed. */
  threads: number;
  /** Pieces of work that may wait for a thread. */
  queue: number;
}

interface Job {
  work: Work;
  resolve(value: Answer['value']): void;
  reject(error: Error): void;
  signal?: AbortSignal;
  onAbort?: () => void;
}

/**
 * A bounded pool of threads. What exceeds threads and queue is refused at once: under a flood of logins the wait stays
 * short for those that are taken, and the main thread stays free for everything else.
 */
export class Threads {
  private readonly idle: Worker[] = [];
  private readonly busy = new Map<Worker, Job>();
  private readonly waiting: Job[] = [];
  private closed = false;

  constructor(private readonly options: ThreadsOptions) {}

  /**
   * @throws RpcError RESOURCE_EXHAUSTED `login.busy` when the queue is full; UNAVAILABLE `login.hashing_failed` when the
   * thread died over it; the signal's reason when that aborts while the work still waits
   */
  run(work: Work, signal?: AbortSignal): Promise<Answer['value']> {
    if (this.closed) return Promise.reject(this.lost());
    if (signal?.aborted) return Promise.reject(signal.reason as Error);
    const free = this.idle.length > 0 || this.busy.size < this.options.threads;
    if (!free && this.waiting.length >= this.options.queue) {
      return Promise.reject(new RpcError('login.busy', status.RESOURCE_EXHAUSTED, 'too many people are logging in: try again in a moment'));
    }
    return new Promise((resolve, reject) => {
      const job: Job = { work, resolve, reject, signal };
      job.onAbort = () => {
        const position = this.waiting.indexOf(job);
        if (position === -1) return;
        this.waiting.splice(position, 1);
        reject(signal?.reason as Error);
      };
      signal?.addEventListener('abort', job.onAbort, { once: true });
      this.waiting.push(job);
      this.dispatch();
    });
  }

  /** Pieces of work that wait for a thread. */
  get queued(): number {
    return this.waiting.length;
  }

  /** Ends the threads; work that was not done is rejected. */
  async close(): Promise<void> {
    this.closed = true;
    for (const job of this.waiting.splice(0)) this.settle(job).reject(this.lost());
    await Promise.all([...this.idle, ...this.busy.keys()].map((worker) => worker.terminate()));
  }

  private lost(): RpcError {
    return new RpcError('login.hashing_failed', status.UNAVAILABLE, 'the password could not be checked: try again');
  }

  private settle(job: Job): Job {
    if (job.onAbort) job.signal?.removeEventListener('abort', job.onAbort);
    return job;
  }

  private dispatch(): void {
    while (this.waiting.length > 0) {
      const worker = this.idle.pop() ?? (this.busy.size < this.options.threads ? this.start() : undefined);
      if (!worker) return;
      const job = this.waiting.shift()!;
      this.busy.set(worker, job);
      worker.postMessage(job.work);
    }
  }

  private start(): Worker {
    const worker = new Worker(this.options.program, { env: {}, resourceLimits: { maxOldGenerationSizeMb: 32 } });
    // An idle pool keeps no program alive.
    worker.unref();
    worker.on('message', ({ value }: Answer) => {
      const job = this.busy.get(worker);
      this.busy.delete(worker);
      this.idle.push(worker);
      if (job) this.settle(job).resolve(value);
      this.dispatch();
    });
    worker.on('error', (err) => logger.error({ err }, 'a hashing thread failed'));
    // A thread that is gone is replaced when its place is next needed. Its work isn't tried again: it may be what killed it.
    worker.on('exit', () => {
      const position = this.idle.indexOf(worker);
      if (position !== -1) this.idle.splice(position, 1);
      const job = this.busy.get(worker);
      this.busy.delete(worker);
      if (job) this.settle(job).reject(this.lost());
      if (!this.closed) this.dispatch();
    });
    return worker;
  }
}
