import { status } from '@grpc/grpc-js';
import type { Metadata } from '@grpc/grpc-js';
import { silent } from '../log/log';
import type { Logger } from '../log/log';
import { KIND } from '../traces/record';
import { Span } from '../traces/span';
import type { Tracer } from '../traces/tracer';
import { chain } from './call';
import type { CallContext, Interceptor } from './call';
import { RpcError, toStatus } from './errors';
import { ruleOf } from './rules';
import { traceOf } from './trace';
import { systemClock } from '../clock';
import type { Clock } from '../clock';

export interface CallsOptions {
  /** Of what is refused and what fails. Silent, unless told. */
  log?: Logger | undefined;
  /** Where the calls' spans go. Nowhere, unless told. */
  tracer?: Tracer | undefined;
  /** For time limits. The system's, unless told. */
  clock?: Clock | undefined;
  /** Inside of the trace and the log, outside of the time limit. The first is the outermost. */
  interceptors?: readonly Interceptor[];
}

interface AnyCall {
  getPath(): string;
  getPeer(): string;
  metadata: Metadata;
  on(event: 'cancelled', listener: () => void): unknown;
}

/** What comes of a call: its answer, or what crosses the wire instead. */
type Outcome<T> = { value: T; refusal?: never } | { refusal: ReturnType<typeof toStatus>; value?: never };

/** How a server does the work of its calls: each with a context of its own, through the server's interceptors. */
export class Calls {
  private readonly intercept: Interceptor;
  private readonly log: Logger;
  private readonly tracer: Tracer;
  private readonly clock: Clock;

  constructor({ log = silent, tracer = { log }, clock = systemClock, interceptors = [] }: CallsOptions = {}) {
    this.log = log;
    this.clock = clock;
    this.tracer = tracer;
    this.intercept = chain([traced, logged, ...interceptors]);
  }

  /** Does a call's work in its place of the caller's trace, for as long as its rule lets it last. Never rejects. */
  run<T>(call: AnyCall, work: (context: CallContext) => Promise<T>): Promise<Outcome<T>> {
    const { log, tracer } = this;
    const controller = new AbortController();
    // Emitted at the end of every call, in whichever way it comes.
    call.on('cancelled', () => controller.abort(new RpcError('rpc.cancelled', status.CANCELLED, 'the caller is gone')));
    const context: CallContext = {
      method: call.getPath(),
      metadata: call.metadata,
      peer: call.getPeer(),
      signal: controller.signal,
      log,
      tracer,
    };
    return this.intercept(context, () => inTime(context, controller, this.clock, work)).then(
      (value): Outcome<T> => ({ value }),
      (error: unknown): Outcome<T> => ({ refusal: toStatus(error) }),
    );
  }
}

const traced: Interceptor = async ({ method, metadata, tracer }, next) => {
  const span = new Span({ name: method, kind: KIND.server, parent: traceOf(metadata) ?? null, tracer });
  try {
    const answer = await span.run(next);
    span.end(status.OK);
    return answer;
  } catch (error) {
    span.end(toStatus(error).code);
    throw error;
  }
};

const logged: Interceptor = async ({ method, log }, next) => {
  const began = performance.now();
  const served = (grpcStatus: status): void =>
    log.debug({ method, grpcStatus, ms: Math.round(performance.now() - began) }, 'served');
  try {
    const answer = await next();
    served(status.OK);
    return answer;
  } catch (error) {
    if (error instanceof RpcError) log.info({ method, code: error.code }, 'refused');
    else log.error({ method, err: error }, 'failed');
    served(toStatus(error).code ?? status.INTERNAL);
    throw error;
  }
};

/**
 * When the deadline is past, the call is over, whether the work hears of it or not.
 * @throws what the work throws; RpcError DEADLINE_EXCEEDED `rpc.deadline_exceeded`
 */
async function inTime<T>(
  context: CallContext,
  controller: AbortController,
  clock: Clock,
  work: (context: CallContext) => Promise<T>,
): Promise<T> {
  const { timeout } = ruleOf(context.method);
  const working = work(context);
  if (typeof timeout === 'string' || !('deadlineMs' in timeout)) return working;
  return new Promise((resolve, reject) => {
    const timer = clock.after(timeout.deadlineMs, () => {
      const late = new RpcError(
        'rpc.deadline_exceeded',
        status.DEADLINE_EXCEEDED,
        `expected to be done within ${timeout.deadlineMs} ms`,
      );
      reject(late);
      controller.abort(late);
    });
    const over = (): void => timer.cancel();
    context.signal.addEventListener('abort', over, { once: true });
    working.then(resolve, reject).finally(over);
  });
}
