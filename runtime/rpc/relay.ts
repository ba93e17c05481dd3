import type { Socket } from 'node:net';
import type { Readable, Writable } from 'node:stream';
import { finished } from 'node:stream/promises';
import { status } from '@grpc/grpc-js';
import { RpcError } from './errors';
import { FORWARD_WINDOW_BYTES } from './windows';
import type { Windows } from './windows';

/** What both directions of SessionService.Forward have in common. */
export type RelayPart =
  { $case: 'data'; value: Buffer } | { $case: 'window'; value: number } | { $case: 'end'; value: object };

/** One side of a call. */
interface RelayCall {
  /** The next message; undefined once the other side has ended the call. Rejects where the call fails or is given up. */
  next(): Promise<RelayPart | undefined>;
  /** @returns false while it has no room for more: `onDrain` tells of the end of that */
  write(part: RelayPart): boolean;
  onDrain(listener: () => void): void;
  /** Both directions are at their end: nothing more is written. */
  onEnded(): void;
}

/** What is connected to the other side: a socket, for both. `sink` is ended where the other side ends, `source` is only read. */
interface RelayEnds {
  source: Readable;
  sink: Writable;
}

/** Longest piece in one message, well below the enclave's limit. */
const PIECE_BYTES = 256 * 1024;
/** More than any window: who allows more than this allows anything. */
const MOST_CREDIT_BYTES = 1024 * 1024 * 1024;

/**
 * Carries bytes both ways between a socket and a call, each direction to its own end. Neither reads faster than the other side takes: see Windows.
 * @throws what the socket failed with; RpcError `forward.stream`, or what the call fails with. Whoever calls then cuts both
 */
export async function relay(call: RelayCall, ends: RelayEnds, windows: Windows): Promise<void> {
  const running = new Relay(call, ends, windows);
  try {
    await running.toTheEnd();
  } finally {
    running.stop();
  }
}

class Relay {
  private credit = FORWARD_WINDOW_BYTES;
  private blocked = false;
  private hasSentEnd = false;
  private hasReceivedEnd = false;
  private readonly window;
  private fail: (error: Error) => void = () => undefined;
  private readonly failed: Promise<never>;

  constructor(
    private readonly call: RelayCall,
    private readonly ends: RelayEnds,
    windows: Windows,
  ) {
    this.window = windows.open();
    this.failed = new Promise((_, reject) => (this.fail = reject));
    this.failed.catch(() => undefined);
    const { source, sink } = ends;
    call.onDrain(() => {
      this.blocked = false;
      this.send();
      this.allow();
    });
    source.on('readable', this.send).on('end', this.sendEnd).on('error', this.fail).on('close', this.sourceClosed);
    sink.on('error', this.fail).on('close', this.sinkClosed);
  }

  async toTheEnd(): Promise<void> {
    const written = finished(this.ends.sink, { readable: false });
    written.catch(() => undefined);
    this.send();
    await Promise.race([this.failed, this.receive()]);
    await Promise.race([this.failed, written]);
  }

  stop(): void {
    const { source, sink } = this.ends;
    source.off('readable', this.send).off('end', this.sendEnd).off('close', this.sourceClosed);
    sink.off('close', this.sinkClosed);
    this.window.close();
  }

  private async receive(): Promise<void> {
    for (;;) {
      const part = await this.call.next();
      if (part === undefined && this.hasSentEnd && this.hasReceivedEnd) return;
      switch (part?.$case) {
        case 'data':
          if (this.hasReceivedEnd) throw invalid('expected nothing after the end');
          this.take(part.value);
          break;
        case 'window':
          this.credit += part.value;
          if (this.credit > MOST_CREDIT_BYTES) throw invalid(`expected a window below ${MOST_CREDIT_BYTES} bytes`);
          this.send();
          break;
        case 'end':
          this.hasReceivedEnd = true;
          this.ends.sink.end();
          this.endCall();
          break;
        case undefined:
          throw invalid('expected the ends of both directions first');
      }
    }
  }

  private take(bytes: Buffer): void {
    const { sink } = this.ends;
    this.window.came(bytes.length);
    sink.write(bytes, (error) => {
      // An error is the sink's, which says so.
      if (error) return;
      this.window.taken(bytes.length, sink.writableLength);
      this.allow();
    });
  }

  private allow(): void {
    // Whoever reads none of this gets no more of it: a message each would be memory too.
    if (this.blocked || this.hasReceivedEnd) return;
    const granted = this.window.grant();
    if (granted > 0) this.write({ $case: 'window', value: granted });
  }

  private readonly send = (): void => {
    const { source } = this.ends;
    for (;;) {
      const size = Math.min(source.readableLength, this.credit, PIECE_BYTES);
      // Where there is nothing yet this asks for more, and at the end it says that.
      if (source.readableLength === 0) source.read(0);
      if (size === 0 || this.blocked) return;
      const chunk = source.read(size) as Buffer | null;
      if (chunk === null) return;
      this.credit -= chunk.length;
      this.write({ $case: 'data', value: chunk });
    }
  };

  private readonly sendEnd = (): void => {
    if (this.hasSentEnd) return;
    this.hasSentEnd = true;
    this.write({ $case: 'end', value: {} });
    this.endCall();
  };

  private readonly sourceClosed = (): void => {
    if (!this.ends.source.readableEnded) this.fail(cut());
  };

  private readonly sinkClosed = (): void => {
    if (!this.ends.sink.writableFinished) this.fail(cut());
  };

  private write(part: RelayPart): void {
    if (!this.call.write(part)) this.blocked = true;
  }

  private endCall(): void {
    if (this.hasSentEnd && this.hasReceivedEnd) this.call.onEnded();
  }
}

/** Cuts what was relayed, so that whoever is connected sees no ordinary end. */
export function cutSocket(socket: Socket): void {
  // A unix socket has no reset.
  if (socket.remoteAddress === undefined) socket.destroy();
  else socket.resetAndDestroy();
}

/** Where an error comes with it, that was first. */
function cut(): Error {
  return Object.assign(new Error('the connection was closed'), { code: 'ECONNRESET' });
}

function invalid(message: string): RpcError {
  return new RpcError('forward.stream', status.INVALID_ARGUMENT, message);
}
