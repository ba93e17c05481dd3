import { Duplex, PassThrough, Writable } from 'node:stream';
import { relay } from '../../../runtime/rpc/relay';
import type { RelayPart } from '../../../runtime/rpc/relay';
import { FORWARD_WINDOW_BYTES, Windows } from '../../../runtime/rpc/windows';
import { eventually, stalled } from '../../support/eventually';

/** The other side of a call, by hand. */
class Peer {
  readonly sent: RelayPart[] = [];
  private readonly queue: Array<RelayPart | undefined> = [];
  private wake: () => void = () => undefined;
  private drained: () => void = () => undefined;
  /** False: whoever writes has to wait. */
  room = true;

  readonly call = {
    next: async (): Promise<RelayPart | undefined> => {
      while (this.queue.length === 0) await new Promise<void>((resolve) => (this.wake = resolve));
      return this.queue.shift();
    },
    write: (part: RelayPart): boolean => {
      this.sent.push(part);
      return this.room;
    },
    onDrain: (listener: () => void): void => void (this.drained = listener),
    onEnded: () => undefined,
  };

  push(...parts: Array<RelayPart | undefined>): void {
    this.queue.push(...parts);
    this.wake();
  }

  drain(): void {
    this.room = true;
    this.drained();
  }

  get granted(): number {
    return this.sent.reduce((sum, part) => sum + (part.$case === 'window' ? part.value : 0), 0);
  }

  get bytes(): number {
    return this.sent.reduce((sum, part) => sum + (part.$case === 'data' ? part.value.length : 0), 0);
  }
}

const data = (bytes: number): RelayPart => ({ $case: 'data', value: Buffer.alloc(bytes) });
const END: RelayPart = { $case: 'end', value: {} };

/** Takes what is written when told, and not before. */
class Slow extends Writable {
  private take: (() => void) | undefined;
  taken = 0;

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: () => void): void {
    this.take = () => {
      this.taken += chunk.length;
      done();
    };
  }

  takeOne(): void {
    this.take?.();
  }
}

test('each direction ends by itself, and the relay with both', async () => {
  const peer = new Peer();
  const [source, sink] = [new PassThrough(), new PassThrough()];
  const over = relay(peer.call, { source, sink }, new Windows());
  source.end('out');
  await eventually(() => peer.sent.length === 2);
  expect(peer.sent).toEqual([{ $case: 'data', value: Buffer.from('out') }, END]);
  peer.push({ $case: 'data', value: Buffer.from('in') }, END);
  await eventually(() => sink.writableEnded);
  peer.push(undefined);
  sink.resume();
  await over;
});

test('what nobody reads is not read from the source either: a window of the other side’s, and more only as that says', async () => {
  const peer = new Peer();
  const source = new PassThrough({ highWaterMark: 1024 });
  void relay(peer.call, { source, sink: new PassThrough() }, new Windows()).catch(() => undefined);
  let written = 0;
  const write = (): void => {
    while (source.write(Buffer.alloc(1024))) written += 1024;
  };
  source.on('drain', write);
  write();
  await stalled(() => written);
  expect(peer.bytes).toBe(FORWARD_WINDOW_BYTES);
  peer.push({ $case: 'window', value: 5_000 });
  await stalled(() => written);
  expect(peer.bytes).toBe(FORWARD_WINDOW_BYTES + 5_000);
  // A call without room is another reason to wait.
  peer.room = false;
  peer.push({ $case: 'window', value: 1_000_000 });
  await stalled(() => written);
  const [held, limit] = [peer.bytes, FORWARD_WINDOW_BYTES + 1_005_000];
  expect(held).toBeLessThan(limit);
  peer.drain();
  await eventually(() => peer.bytes === limit);
  source.destroy();
});

test('what is written is allowed again once the sink has it, and not before', async () => {
  const peer = new Peer();
  const sink = new Slow();
  void relay(peer.call, { source: new PassThrough(), sink }, new Windows()).catch(() => undefined);
  peer.push(...Array.from({ length: 4 }, () => data(FORWARD_WINDOW_BYTES / 4)));
  await stalled(() => peer.sent.length);
  expect(peer.granted).toBe(0);
  for (let times = 0; times < 4; times++) {
    sink.takeOne();
    await stalled(() => sink.taken);
  }
  expect(peer.granted).toBe(FORWARD_WINDOW_BYTES);
  sink.destroy();
});

test('behind a sink that takes nothing the other direction goes on', async () => {
  const peer = new Peer();
  const source = new PassThrough();
  void relay(peer.call, { source, sink: new Slow() }, new Windows()).catch(() => undefined);
  peer.push(data(FORWARD_WINDOW_BYTES), { $case: 'window', value: 1_000_000 });
  source.write(Buffer.alloc(500_000));
  await eventually(() => peer.bytes === 500_000);
  source.destroy();
});

test('whoever sends more than the window is cut off', async () => {
  const peer = new Peer();
  const over = relay(peer.call, { source: new PassThrough(), sink: new Slow() }, new Windows());
  peer.push(data(FORWARD_WINDOW_BYTES), data(1));
  await expect(over).toRejectWithCode('forward.stream');
});

test.each<[string, Array<RelayPart | undefined>]>([
  ['data after the end', [END, data(1)]],
  ['an end of the call before that of both directions', [END, undefined]],
  ['a window beyond all bounds', [{ $case: 'window', value: 2 ** 32 - 1 }]],
])('%s is refused', async (_name, parts) => {
  const peer = new Peer();
  const over = relay(peer.call, { source: new PassThrough(), sink: new PassThrough() }, new Windows());
  peer.push(...parts);
  await expect(over).toRejectWithCode('forward.stream');
});

test('a socket that is cut cuts the call', async () => {
  const peer = new Peer();
  const socket = new Duplex({ read: () => undefined, write: (_chunk, _encoding, done) => done() });
  const over = relay(peer.call, { source: socket, sink: socket }, new Windows());
  socket.destroy();
  await expect(over).rejects.toThrow('the connection was closed');
});

test('a thousand connections whose readers have stopped hold what is promised, and that has a bound; it is given back', async () => {
  const windows = new Windows(1_000_000);
  const fast = Array.from({ length: 1000 }, () => {
    const peer = new Peer();
    const sink = new PassThrough().resume();
    const over = relay(peer.call, { source: new PassThrough(), sink }, windows);
    over.catch(() => undefined);
    return { peer, sink, over };
  });
  // Each takes as much as it is allowed, some times over: so its window grows, while there is anything to grow by.
  for (let times = 0; times < 6; times++) {
    for (const { peer } of fast) peer.push(data(FORWARD_WINDOW_BYTES / 2));
    await stalled(() => fast[999]!.peer.granted);
  }
  expect(windows.promised).toBe(1000 * FORWARD_WINDOW_BYTES + 1_000_000);
  for (const { sink } of fast) sink.destroy();
  await Promise.allSettled(fast.map(({ over }) => over));
  expect(windows.promised).toBe(0);
});
