import type {
  handleBidiStreamingCall,
  handleClientStreamingCall,
  handleServerStreamingCall,
  handleUnaryCall,
  ServerDuplexStream,
  ServerReadableStream,
  ServerWritableStream,
  UntypedServiceImplementation,
} from '@grpc/grpc-js';
import { beginAnswer } from './first-answer';
import { whenIdle } from './idle';
import './grpc-log';
import './strict-text';
import type { CallContext } from './call';
import type { Calls } from './calls';

export type { CallContext };

/** A method of a service, once it is known which server's calls it serves: see `bind`. */
type Handler<GrpcHandler> = (calls: Calls) => GrpcHandler;

/** What serves a service: a handler for each method of the generated interface. */
export type Implementation<Service extends UntypedServiceImplementation = UntypedServiceImplementation> = {
  [Method in keyof Service]: Handler<Service[Method]>;
};

/** A service's methods, whose calls are done by a server's own rules, log, trace and interceptors. */
export function bind(implementation: Implementation, calls: Calls): UntypedServiceImplementation {
  return Object.fromEntries(Object.entries(implementation).map(([name, handler]) => [name, handler(calls)]));
}

/** A unary method from an async function. What it throws becomes the status: see `toStatus`. */
export function unary<Request, Response>(
  handle: (request: Request, context: CallContext) => Promise<Response>,
): Handler<handleUnaryCall<Request, Response>> {
  return (calls) => (call, callback) => {
    beginAnswer(call);
    void calls
      .run(call, (context) => handle(call.request, context))
      .then(({ refusal, value }) => (refusal ? callback(refusal) : callback(null, value)));
  };
}

/** A server-streaming method from an async function that writes to the call and returns when it is done. */
export function serverStream<Request, Response>(
  handle: (call: ServerWritableStream<Request, Response>, context: CallContext) => Promise<void>,
): Handler<handleServerStreamingCall<Request, Response>> {
  return (calls) => (call) => {
    beginAnswer(call);
    void calls
      .run(call, (context) => handle(call, context))
      .then(({ refusal }) => (refusal ? call.emit('error', refusal) : call.end()));
  };
}

/** A client-streaming method from an async function that reads the call and returns the answer. */
export function clientStream<Request, Response>(
  handle: (call: ServerReadableStream<Request, Response>, context: CallContext) => Promise<Response>,
): Handler<handleClientStreamingCall<Request, Response>> {
  return (calls) => (call, callback) => {
    void calls
      .run(call, (context) => handle(call, context))
      .then(({ refusal, value }) => (refusal ? callback(refusal) : callback(null, value)));
  };
}

/** A bidirectional method from an async function that returns when it is done. */
export function bidiStream<Request, Response>(
  handle: (call: ServerDuplexStream<Request, Response>, context: CallContext) => Promise<void>,
): Handler<handleBidiStreamingCall<Request, Response>> {
  return (calls) => (call) => {
    void calls
      .run(call, (context) => handle(call, context))
      .then(({ refusal }) => (refusal ? call.emit('error', refusal) : call.end()));
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
