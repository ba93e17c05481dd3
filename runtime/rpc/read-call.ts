import type { Readable } from 'node:stream';
import { whenIdle } from './idle';

/** Reads the messages of a call one by one, until its end or until `signal` aborts: a call that was cut does not always end its stream. */
export class CallReader<Message> {
  private ended = false;
  private failure: Error | undefined;
  private look: () => void = () => undefined;

  /**
   * Not by the call's iterator: that destroys the call at the error by which gRPC refuses it, and the refusal is lost where something is
   * still being written.
   */
  constructor(
    private readonly call: AsyncIterable<Message> & Pick<Readable, 'read' | 'on'> & { getPath(): string },
    private readonly signal: AbortSignal,
  ) {
    const end = (): void => {
      this.ended = true;
      this.look();
    };
    call.on('readable', () => this.look());
    call.on('end', end);
    call.on('close', end);
    call.on('error', (error: Error) => {
      this.failure = error;
      this.look();
    });
  }

  /** @returns undefined at the end. @throws the signal's reason; RpcError DEADLINE_EXCEEDED `rpc.idle`, where the method's rule bounds the wait */
  async next(): Promise<Message | undefined> {
    const { signal } = this;
    signal.throwIfAborted();
    return new Promise((resolve, reject) => {
      const over = (): void => {
        stopTimer();
        signal.removeEventListener('abort', aborted);
        this.look = () => undefined;
      };
      const refuse = (error: Error): void => {
        over();
        reject(error);
      };
      const aborted = (): void => refuse(signal.reason as Error);
      signal.addEventListener('abort', aborted, { once: true });
      const stopTimer = whenIdle(this.call.getPath(), refuse);
      this.look = () => {
        const message = this.call.read() as Message | null;
        if (message === null && this.failure) return refuse(this.failure);
        if (message === null && !this.ended) return;
        over();
        resolve(message ?? undefined);
      };
      this.look();
    });
  }
}
