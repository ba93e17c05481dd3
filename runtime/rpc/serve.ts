import { status } from '@grpc/grpc-js';
import type { Metadata } from '@grpc/grpc-js';
import { logger } from '../log/logger';
import { Span } from '../traces/span';
import { RpcError, toStatus } from './errors';
import { ruleOf } from './rules';
import { traceOf } from './trace';
import { KIND } from '../traces/record';

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

/** What comes of a call: its answer, or what crosses the wire instead. */
type Outcome<T> = { value: T; refusal?: never } | { refusal: ReturnType<typeof toStatus>; value?: never };

/** Does a call's work in its place of the caller's trace, for as long as its rule lets it last. Never rejects. */
export function serve<T>(call: AnyCall, work: (context: CallContext) => Promise<T>): Promise<Outcome<T>> {
  const method = call.getPath();
  const span = new Span({ name: method, kind: KIND.server, parent: traceOf(call.metadata) ?? null });
  const began = performance.now();
  return span.run(async () => {
    const outcome = await bounded(call, work).then(
      (value): Outcome<T> => ({ value }),
      (error: unknown): Outcome<T> => ({ refusal: report(method, error) }),
    );
    const grpcStatus = outcome.refusal?.code ?? status.OK;
    span.end(grpcStatus);
    logger.debug({ method, grpcStatus, ms: Math.round(performance.now() - began) }, 'served');
    return outcome;
  });
}

/**
 * When the deadline is past, the call is over, whether the work hears of it or not.
 * @throws what the work throws; RpcError DEADLINE_EXCEEDED `rpc.deadline_exceeded`
 */
async function bounded<T>(call: AnyCall, work: (context: CallContext) => Promise<T>): Promise<T> {
  const method = call.getPath();
  const controller = new AbortController();
  const { timeout: lasts } = ruleOf(method);
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
      const late = new RpcError(
        'rpc.deadline_exceeded',
        status.DEADLINE_EXCEEDED,
        `expected to be done within ${lasts.deadlineMs} ms`,
      );
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
