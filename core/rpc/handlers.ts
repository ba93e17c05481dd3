import { status } from '@grpc/grpc-js';
import type {
  handleBidiStreamingCall,
  handleClientStreamingCall,
  handleServerStreamingCall,
  handleUnaryCall,
  Metadata,
  ServerDuplexStream,
  ServerReadableStream,
  ServerWritableStream,
} from '@grpc/grpc-js';
import { logger } from '../log/logger';
import { RpcError, toStatus } from './errors';
import { whenIdle } from './idle';
import { ruleOf } from './rules';

/** What a handler may know about a call besides its request. `signal` aborts when the caller is gone or its deadline is past. */
export interface CallContext {
  method: string;
  metadata: Metadata;
  /** The other end of the connection: ADDRESS:PORT, or a word where there is none, as on a unix socket. */
  peer: string;
  signal: AbortSignal;
}

interface AnyCall {
  getPath(): string;
  getPeer(): string;
  metadata: Metadata;
  on(event: 'cancelled', listener: () => void): unknown;
}

/**
 * Does a call's work, for as long as its rule lets it last: then the call is over, whether the work hears of it or not.
 * @throws what the work throws; RpcError DEADLINE_EXCEEDED `rpc.deadline_exceeded`
 */
async function serve<T>(call: AnyCall, work: (context: CallContext) => Promise<T>): Promise<T> {
  const method = call.getPath();
  const controller = new AbortController();
  const { lasts } = ruleOf(method);
  let over = (): void => undefined;
  // Emitted at the end of every call, in whichever way it comes.
  call.on('cancelled', () => {
    over();
    controller.abort(new RpcError('rpc.cancelled', status.CANCELLED, 'the caller is gone'));
  });
  const working = work({ method, metadata: call.metadata, peer: call.getPeer(), signal: controller.signal });
  if (typeof lasts === 'string' || !('deadlineMs' in lasts)) return working;
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => {
      const late = new RpcError('rpc.deadline_exceeded', status.DEADLINE_EXCEEDED, `expected to be done within ${lasts.deadlineMs} ms`);
      reject(late);
      controller.abort(late);
    }, lasts.deadlineMs);
    over = () => clearTimeout(timer);
    working.then(resolve, reject).finally(over);
  });
}

function report(method: string, error: unknown): ReturnType<typeof toStatus> {
  const reply = toStatus(error);
  if (error instanceof RpcError) logger.info({ method, code: error.code }, 'refused');
  else logger.error({ method, err: error }, 'failed');
  return reply;
}

/** A unary method from an async function. What it throws becomes the status: see `toStatus`. */
export function unary<Request, Response>(
  handle: (request: Request, context: CallContext) => Promise<Response>,
): handleUnaryCall<Request, Response> {
  return (call, callback) => {
    serve(call, (context) => handle(call.request, context)).then(
      (response) => callback(null, response),
      (error: unknown) => callback(report(call.getPath(), error)),
    );
  };
}

/** A server-streaming method from an async function that writes to the call and returns when it is done. */
export function serverStream<Request, Response>(
  handle: (call: ServerWritableStream<Request, Response>, context: CallContext) => Promise<void>,
): handleServerStreamingCall<Request, Response> {
  return (call) => {
    serve(call, (context) => handle(call, context)).then(
      () => call.end(),
      (error: unknown) => call.emit('error', report(call.getPath(), error)),
    );
  };
}

/** A client-streaming method from an async function that reads the call and returns the answer. */
export function clientStream<Request, Response>(
  handle: (call: ServerReadableStream<Request, Response>, context: CallContext) => Promise<Response>,
): handleClientStreamingCall<Request, Response> {
  return (call, callback) => {
    serve(call, (context) => handle(call, context)).then(
      (response) => callback(null, response),
      (error: unknown) => callback(report(call.getPath(), error)),
    );
  };
}

/** A bidirectional method from an async function that returns when it is done. */
export function bidiStream<Request, Response>(
  handle: (call: ServerDuplexStream<Request, Response>, context: CallContext) => Promise<void>,
): handleBidiStreamingCall<Request, Response> {
  return (call) => {
    serve(call, (context) => handle(call, context)).then(
      () => call.end(),
      (error: unknown) => call.emit('error', report(call.getPath(), error)),
    );
  };
}

interface MessageSink<T> {
  getPath(): string;
  destroyed?: boolean;
  write(message: T): boolean;
  once(event: string, f: () => void): unknown;
  off(event: string, f: () => void): unknown;
}

/**
 * Writes one message and waits until the other side has room, so that a slow reader costs no memory.
 * @throws RpcError DEADLINE_EXCEEDED `rpc.idle`, where the method's rule bounds that wait
 */
export async function writeMessage<T>(stream: MessageSink<T>, message: T): Promise<void> {
  // Where the other side is gone already, no event would end the wait.
  if (stream.destroyed || stream.write(message) || stream.destroyed) return;
  await new Promise<void>((resolve, reject) => {
    const events = ['drain', 'close', 'error', 'cancelled'];
    const stopTimer = whenIdle(stream.getPath(), (error) => {
      reject(error);
      done();
    });
    const done = (): void => {
      stopTimer();
      for (const event of events) stream.off(event, done);
      resolve();
    };
    for (const event of events) stream.once(event, done);
  });
}
