import { EventEmitter } from 'node:events';
import { Readable } from 'node:stream';
import { status } from '@grpc/grpc-js';
import { writeMessage } from '../../../runtime/rpc/handlers';
import { CallReader } from '../../../runtime/rpc/read-call';
import { RULES } from '../../../runtime/rpc/rules';

const PUT_FILE = '/licensing.v1.SessionService/PutFile';
const EXEC = '/licensing.v1.SessionService/Exec';
const { idleMs } = RULES[PUT_FILE].timeout;
const LATE = { code: 'rpc.idle', grpcStatus: status.DEADLINE_EXCEEDED };

// Streams go on by these.
beforeEach(() => jest.useFakeTimers({ doNotFake: ['nextTick', 'setImmediate', 'queueMicrotask'] }));
afterEach(() => jest.useRealTimers());

/** A caller who sends one message after each of these waits, and then nothing. */
function caller(path: string, waits: number[]): Readable & { getPath(): string } {
  const messages = async function* (): AsyncGenerator<number> {
    for (const wait of waits) {
      await new Promise((resolve) => setTimeout(resolve, wait));
      yield wait;
    }
    await new Promise(() => undefined);
  };
  return Object.assign(Readable.from(messages()), { getPath: () => path });
}

/** A reader who takes nothing. */
function stalled(path: string): EventEmitter & { getPath(): string; write(): boolean } {
  return Object.assign(new EventEmitter(), { getPath: () => path, write: () => false });
}

test('an upload goes on for as long as something comes, and is over when nothing does', async () => {
  const reader = new CallReader(caller(PUT_FILE, [idleMs - 1, idleMs - 1, idleMs - 1]), new AbortController().signal);
  for (let i = 0; i < 3; i++) {
    const next = reader.next();
    await jest.advanceTimersByTimeAsync(idleMs - 1);
    expect(await next).toBe(idleMs - 1);
  }
  const refused = expect(reader.next()).rejects.toMatchObject(LATE);
  await jest.advanceTimersByTimeAsync(idleMs);
  await refused;
});

test('a command is waited for as long as its connection lasts', async () => {
  const ending = new AbortController();
  const reader = new CallReader(caller(EXEC, []), ending.signal);
  const next = expect(reader.next()).rejects.toThrow('the end');
  await jest.advanceTimersByTimeAsync(30 * 86_400_000);
  ending.abort(new Error('the end'));
  await next;
});

test('a download whose reader stalls is over; a command whose reader stalls waits for it', async () => {
  const refused = expect(writeMessage(stalled('/licensing.v1.SessionService/GetFile'), {})).rejects.toMatchObject(LATE);
  await jest.advanceTimersByTimeAsync(idleMs);
  await refused;
  const sink = stalled(EXEC);
  let written = false;
  const writing = writeMessage(sink, {}).then(() => (written = true));
  await jest.advanceTimersByTimeAsync(86_400_000);
  expect(written).toBe(false);
  sink.emit('drain');
  await writing;
});
