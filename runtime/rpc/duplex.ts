import { Duplex } from 'node:stream';

/** What both ends of a bidirectional gRPC stream have in common. */
interface MessageStream {
  write(message: { data: Buffer }): boolean;
  end(): unknown;
  pause(): unknown;
  resume(): unknown;
  on(event: string, listener: (...values: never[]) => void): unknown;
  once(event: string, listener: () => void): unknown;
}

/** Longest piece in one message: well below MAX_MESSAGE_BYTES. */
const PIECE_BYTES = 256 * 1024;

/**
 * The bytes of a bidirectional gRPC stream whose messages are `{ data }` (TunnelRequest, TunnelResponse), as a Duplex with
 * backpressure in both directions. Either end of the call can be given; `cut` ends it at once.
 */
export class CallDuplex extends Duplex {
  constructor(
    private readonly call: MessageStream,
    private readonly cut: () => void,
  ) {
    super({ allowHalfOpen: true });
    call.on('data', ({ data }: { data: Buffer }) => {
      if (data.length > 0 && !this.push(data)) call.pause();
    });
    call.on('end', () => this.push(null));
    call.on('error', (error: Error) => this.destroy(error));
    // The caller of a call that was cut gets an error; its server only this.
    call.on('cancelled', () => this.destroy());
  }

  override _read(): void {
    this.call.resume();
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: (error?: Error | null) => void): void {
    this.send(chunk, done);
  }

  override _writev(chunks: Array<{ chunk: Buffer }>, done: (error?: Error | null) => void): void {
    this.send(chunks.length === 1 ? chunks[0]!.chunk : Buffer.concat(chunks.map(({ chunk }) => chunk)), done);
  }

  private send(bytes: Buffer, done: (error?: Error | null) => void): void {
    let room = true;
    for (let start = 0; start < bytes.length; start += PIECE_BYTES) {
      room = this.call.write({ data: bytes.subarray(start, start + PIECE_BYTES) });
    }
    if (room) done();
    else this.call.once('drain', () => done());
  }

  override _final(done: (error?: Error | null) => void): void {
    this.call.end();
    done();
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    this.cut();
    done(error);
  }
}
