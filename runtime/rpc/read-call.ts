import type { Readable } from 'node:stream';
import { whenIdle } from './idle';

/** Reads the messages of a call one by one, until its end or until `signal` aborts: a call that was cut does not always end its stream. */
export class CallReader<Message> {
  private readonly messages: AsyncIterator<Message>;

  constructor(
    private readonly call: AsyncIterable<Message> & Pick<Readable, 'iterator'> & { getPath(): string },
    private readonly signal: AbortSignal,
  ) {
    // At the end of what the caller says, there may be much to answer: without this option the whole call would be destroyed.
    this.messages = call.iterator({ destroyOnReturn: false }) as AsyncIterator<Message>;
  }

  /** @returns undefined at the end. @throws the signal's reason; RpcError DEADLINE_EXCEEDED `rpc.idle`, where the method's rule bounds the wait */
  async next(): Promise<Message | undefined> {
    const { signal } = this;
    signal.throwIfAborted();
    return new Promise((resolve, reject) => {
      const aborted = (): void => reject(signal.reason as Error);
      signal.addEventListener('abort', aborted, { once: true });
      const stopTimer = whenIdle(this.call.getPath(), reject);
      this.messages
        .next()
        .then(({ value, done }) => resolve(done ? undefined : (value as Message)), reject)
        .finally(() => {
          stopTimer();
          signal.removeEventListener('abort', aborted);
        });
    });
  }
}
