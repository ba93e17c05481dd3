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

function contextOf(call: AnyCall): CallContext {
  const controller = new AbortController();
  call.on('cancelled', () => controller.abort(new RpcError('rpc.cancelled', status.CANCELLED, 'the caller is gone')));
  return { method: call.getPath(), metadata: call.metadata, peer: call.getPeer(), signal: controller.signal };
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
    handle(call.request, contextOf(call)).then(
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
    handle(call, contextOf(call)).then(
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
    handle(call, contextOf(call)).then(
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
    handle(call, contextOf(call)).then(
      () => call.end(),
      (error: unknown) => call.emit('error', report(call.getPath(), error)),
    );
  };
}

/** Writes one message and waits until the other side has room, so that a slow reader costs no memory. */
export async function writeMessage<T>(
  stream: { destroyed?: boolean; write(message: T): boolean; once(event: string, f: () => void): unknown; off(event: string, f: () => void): unknown },
  message: T,
): Promise<void> {
  // Where the other side is gone already, no event would end the wait.
  if (stream.destroyed || stream.write(message) || stream.destroyed) return;
  await new Promise<void>((resolve) => {
    const events = ['drain', 'close', 'error', 'cancelled'];
    const done = (): void => {
      for (const event of events) stream.off(event, done);
      resolve();
    };
    for (const event of events) stream.once(event, done);
  });
}
