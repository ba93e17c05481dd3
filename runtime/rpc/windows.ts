import { status } from '@grpc/grpc-js';
import { RpcError } from './errors';

/** What each side of a forwarded connection may send before the other has said how much more it takes: session.proto, ForwardRequest. */
export const FORWARD_WINDOW_BYTES = 64 * 1024;
/** What a connection's window may grow to: enough for a fast link that is far away. */
const LARGEST_BYTES = 2 * 1024 * 1024;
/** By which the windows of a session's connections may have grown, all together. */
const SPARE_BYTES = 32 * 1024 * 1024;

/**
 * The receiving windows of one session's connections. Each has FORWARD_WINDOW_BYTES, and those that carry much share a store of more: so what waits for slow
 * readers is bounded however many there are (SPARE_BYTES and FORWARD_WINDOW_BYTES for each), and one that is alone is fast.
 */
export class Windows {
  /** What the other side may have sent and nobody has taken yet, at most. */
  promised = 0;

  constructor(private spare = SPARE_BYTES) {}

  /** Of one connection. The caller closes it. */
  open(): Window {
    this.promised += FORWARD_WINDOW_BYTES;
    return new Window(this);
  }

  /** @returns how much of it there is */
  borrow(bytes: number): number {
    const lent = Math.min(bytes, this.spare);
    this.spare -= lent;
    this.promised += lent;
    return lent;
  }

  giveBack(borrowed: number): void {
    this.spare += borrowed;
    this.promised -= borrowed + FORWARD_WINDOW_BYTES;
  }
}

/** What the other side of one connection may send. */
class Window {
  private size = FORWARD_WINDOW_BYTES;
  private allowed = FORWARD_WINDOW_BYTES;
  private due = 0;
  private takenAtThisSize = 0;
  private closed = false;

  constructor(private readonly owner: Windows) {}

  /** Something came. @throws RpcError INVALID_ARGUMENT `forward.stream` where that is more than was allowed */
  came(bytes: number): void {
    if (bytes > this.allowed)
      throw new RpcError(
        'forward.stream',
        status.INVALID_ARGUMENT,
        `expected ${this.allowed} bytes at most, which is what the window allows, got ${bytes}`,
      );
    this.allowed -= bytes;
  }

  /** Its reader has taken some. @param waiting what it has not taken yet */
  taken(bytes: number, waiting: number): void {
    this.due += bytes;
    this.takenAtThisSize += bytes;
    // A reader that keeps up is one for which the window may be too small.
    if (this.closed || waiting > this.size / 2 || this.takenAtThisSize < 2 * this.size) return;
    this.takenAtThisSize = 0;
    const more = this.owner.borrow(Math.min(this.size, LARGEST_BYTES - this.size));
    this.size += more;
    this.due += more;
  }

  /** What to allow the other side in addition; 0 while that is not worth a message. */
  grant(): number {
    if (this.due < this.size / 2) return 0;
    const granted = this.due;
    this.due = 0;
    this.allowed += granted;
    return granted;
  }

  close(): void {
    if (this.closed) return;
    this.closed = true;
    this.owner.giveBack(this.size - FORWARD_WINDOW_BYTES);
  }
}
