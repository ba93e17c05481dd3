import { Worker } from 'node:worker_threads';
import { status } from '@grpc/grpc-js';
import { RpcError } from '../../runtime/rpc/errors';
import { FairQueue } from '../../runtime/turns/queue';
import type { Answer, Work } from './work';
import { silent } from '../../runtime/log/log';
import type { Logger } from '../../runtime/log/log';

interface ThreadsOptions {
  /** Bundle of a worker here. */
  program: string;
  /** Threads at most; each is started when it is first needed. */
  threads: number;
  /** Pieces of work that may wait for a thread. */
  queue: number;
  /** For what a thread keeps; 32 MiB unless told. */
  memoryMiB?: number;
  /** Silent, unless told. */
  log?: Logger;
}

/** For whom work is done. */
export interface Requester {
  signal?: AbortSignal | undefined;
  /** Where it comes from, such as a network address. Those who wait take turns by it. */
  owner?: string;
}

interface Job {
  work: Work;
  owner: string;
  resolve(value: Answer['value']): void;
  reject(error: Error): void;
  signal: AbortSignal | undefined;
  onAbort?: () => void;
}

function busy(): RpcError {
  return new RpcError('login.busy', status.RESOURCE_EXHAUSTED, 'too many people are logging in: try again in a moment');
}

/**
 * A bounded pool of threads. What exceeds threads and queue is refused at once: under a flood of logins the wait stays
 * short for those that are taken, and the main thread stays free for everything else. A flood from one place leaves room for others: see FairQueue.
 */
export class Threads {
  private readonly idle: Worker[] = [];
  private readonly busy = new Map<Worker, Job>();
  private readonly waiting: FairQueue<Job>;
  private closed = false;

  constructor(private readonly options: ThreadsOptions) {
    this.waiting = new FairQueue(options.queue);
  }

  /**
   * @throws RpcError RESOURCE_EXHAUSTED `login.busy` when the queue is full; UNAVAILABLE `login.hashing_failed` when the
   * thread died over it; the signal's reason when that aborts while the work still waits
   */
  run(work: Work, { signal, owner = '' }: Requester = {}): Promise<Answer['value']> {
    if (this.closed) return Promise.reject(this.lost());
    if (signal?.aborted) return Promise.reject(signal.reason as Error);
    return new Promise((resolve, reject) => {
      const job: Job = { work, owner, resolve, reject, signal };
      const free = this.freeWorker();
      if (free) {
        this.begin(free, job);
        return;
      }
      const { taken, gone } = this.waiting.push(job, owner);
      for (const refused of [...(gone ? [gone] : []), ...(taken ? [] : [job])]) this.settle(refused).reject(busy());
      if (!taken) return;
      job.onAbort = () => {
        if (this.waiting.remove(job, owner)) reject(signal?.reason as Error);
      };
      signal?.addEventListener('abort', job.onAbort, { once: true });
    });
  }

  /** Pieces of work that wait for a thread. */
  get queued(): number {
    return this.waiting.length;
  }

  /** Ends the threads; work that was not done is rejected. */
  async close(): Promise<void> {
    this.closed = true;
    for (let job = this.waiting.shift(); job; job = this.waiting.shift()) this.settle(job).reject(this.lost());
    await Promise.all([...this.idle, ...this.busy.keys()].map((worker) => worker.terminate()));
  }

  private lost(): RpcError {
    return new RpcError('login.hashing_failed', status.UNAVAILABLE, 'the password could not be checked: try again');
  }

  private settle(job: Job): Job {
    if (job.onAbort) job.signal?.removeEventListener('abort', job.onAbort);
    return job;
  }

  private freeWorker(): Worker | undefined {
    return this.idle.pop() ?? (this.busy.size < this.options.threads ? this.start() : undefined);
  }

  private begin(worker: Worker, job: Job): void {
    this.busy.set(worker, job);
    worker.postMessage(job.work);
  }

  private dispatch(): void {
    while (this.waiting.length > 0) {
      const worker = this.freeWorker();
      if (!worker) return;
      this.begin(worker, this.waiting.shift()!);
    }
  }

  private start(): Worker {
    const worker = new Worker(this.options.program, {
      env: {},
      resourceLimits: { maxOldGenerationSizeMb: this.options.memoryMiB ?? 32 },
    });
    // An idle pool keeps no program alive.
    worker.unref();
    worker.on('message', ({ value }: Answer) => {
      const job = this.busy.get(worker);
      this.busy.delete(worker);
      this.idle.push(worker);
      if (job) this.settle(job).resolve(value);
      this.dispatch();
    });
    worker.on('error', (err) => (this.options.log ?? silent).error({ err }, 'a thread for passwords failed'));
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
