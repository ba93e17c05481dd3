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
import type { Misuse } from './misuse';
import { callerAddress, isLocal, subscriberOf, TrustedProxies } from './peer';
import { announce, PROTOCOL, requireCommon } from './protocol';
import type { Protocol } from './protocol';
import { ruleOf } from './rules';
import { traceOf } from './trace';
import { systemClock } from '../clock';
import type { Clock } from '../clock';
import { workFor } from '../turns/requester';
import type { Requester } from '../turns/requester';
import { Turns } from '../turns/turns';
import type { TurnSizes } from '../turns/turns';

/** Of calls that cost more than a look into memory (rules.ts), of all addresses; and of one, which is never all of them. */
const CALLS: TurnSizes = { atOnce: 256, ofOne: 128, waiting: 2048 };
/** Of calls whose caller is known: some of these wait for an enclave to start. */
const CALLS_OF_ACCOUNTS: TurnSizes = { atOnce: 1024, ofOne: 8, waiting: 1024 };

export interface CallsOptions {
  /** Of what is refused and what fails. Silent, unless told. */
  log?: Logger | undefined;
  /** Where the calls' spans go. Nowhere, unless told. */
  tracer?: Tracer | undefined;
  /** For time limits. The system's, unless told. */
  clock?: Clock | undefined;
  /** Inside of the trace and the log, outside of the time limit. The first is the outermost. */
  interceptors?: readonly Interceptor[];
  /** Whose word about a caller's address is taken. Nobody's, unless told. */
  proxies?: TrustedProxies | undefined;
  /** Otherwise than `CALLS`. */
  turns?: Partial<TurnSizes>;
  /** Otherwise than `PROTOCOL`. */
  protocol?: Protocol;
  /** Authenticates, before its handler, each call of a method whose rule says `access token`. @throws RpcError UNAUTHENTICATED */
  authenticate?: ((context: CallContext) => Promise<void>) | undefined;
  /** Behind a proxy, whose connections are not closed for it, calls of an address that misuses the server are refused before they cost anything. */
  misuse?: Pick<Misuse, 'isClosedTo'> | undefined;
}

/** For who finds no room to wait for a turn. */
export function busy(): RpcError {
  return new RpcError(
    'rpc.busy',
    status.RESOURCE_EXHAUSTED,
    'too many calls wait for their turn: try again in a moment',
  );
}

function turnedAway(): RpcError {
  return new RpcError(
    'rpc.busy',
    status.RESOURCE_EXHAUSTED,
    'too many calls of this network address were given up or refused: try again in a minute',
  );
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
  private readonly proxies: TrustedProxies;
  private readonly turns: Turns;
  private readonly turnsOfAccounts = new Turns(CALLS_OF_ACCOUNTS, busy);
  private readonly authenticate: CallsOptions['authenticate'];
  private readonly misuse: CallsOptions['misuse'];
  private readonly protocol: Protocol;

  constructor({
    log = silent,
    tracer = { log },
    clock = systemClock,
    interceptors = [],
    proxies = TrustedProxies.none,
    turns = {},
    authenticate,
    misuse,
    protocol = PROTOCOL,
  }: CallsOptions = {}) {
    this.protocol = protocol;
    this.authenticate = authenticate;
    this.misuse = misuse;
    this.log = log;
    this.clock = clock;
    this.tracer = tracer;
    this.proxies = proxies;
    this.turns = new Turns({ ...CALLS, ...turns }, busy);
    this.intercept = chain([traced, logged, ...interceptors]);
  }

  /**
   * Does a call's work in its place of the caller's trace and in the turn of the caller's address, for as long as its rule lets it last. The work counts until it
   * ends, which may be long after its caller is gone; a call whose caller is gone before its turn comes is never begun. Never rejects.
   */
  run<T>(call: AnyCall, work: (context: CallContext) => Promise<T>): Promise<Outcome<T>> {
    const { log, tracer, turnsOfAccounts } = this;
    const controller = new AbortController();
    const { signal } = controller;
    // Emitted at the end of every call, in whichever way it comes.
    call.on('cancelled', () => controller.abort(new RpcError('rpc.cancelled', status.CANCELLED, 'the caller is gone')));
    const address = subscriberOf(callerAddress({ peer: call.getPeer(), metadata: call.metadata }, this.proxies));
    let owner = address;
    let leave = (): void => undefined;
    const context: CallContext = {
      method: call.getPath(),
      metadata: call.metadata,
      peer: call.getPeer(),
      signal,
      log,
      tracer,
      async takeTurnOf(account) {
        owner = account;
        leave();
        leave = await turnsOfAccounts.enter(account, signal);
      },
    };
    const requester: Requester = {
      get owner() {
        return owner;
      },
      signal,
      begun: false,
      over: false,
      statements: 0,
    };
    const inTurn = async (): Promise<T> => {
      try {
        requireCommon(context.metadata, this.protocol);
        const { cost, caller } = ruleOf(context.method);
        if (cost.statements > 0) {
          if (!isLocal(address) && this.misuse?.isClosedTo(address) === true) throw turnedAway();
          leave = await this.turns.enter(address, signal);
        }
        if (caller === 'access token') await this.admit(context);
        return await work(context);
      } finally {
        leave();
        requester.over = true;
      }
    };
    return workFor(requester, () =>
      this.intercept(context, () => inTime(context, controller, this.clock, inTurn)),
    ).then(
      (value): Outcome<T> => ({ value }),
      (error: unknown): Outcome<T> => {
        const refusal = toStatus(error);
        if (refusal.metadata) announce(refusal.metadata, this.protocol);
        return { refusal };
      },
    );
  }

  private async admit(context: CallContext): Promise<void> {
    // A server without it doesn't start (server.ts); whatever else serves calls fails closed.
    if (!this.authenticate) throw new Error(`nothing authenticates the callers of ${context.method}`);
    await this.authenticate(context);
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
    // Whoever gives up is refused nothing, and thousands may do so at a time.
    if (error instanceof RpcError)
      log[error.code === 'rpc.cancelled' ? 'debug' : 'info']({ method, code: error.code }, 'refused');
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
  work: () => Promise<T>,
): Promise<T> {
  const { timeout } = ruleOf(context.method);
  const working = work();
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
