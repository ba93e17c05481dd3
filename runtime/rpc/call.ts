import type { Metadata } from '@grpc/grpc-js';
import type { Logger } from '../log/log';
import type { Tracer } from '../traces/tracer';

/** A call that a server was sent, as far as it isn't the request itself: what a handler and the interceptors around it know of it. */
export interface CallContext {
  /** Full name: /PACKAGE.SERVICE/METHOD. */
  readonly method: string;
  readonly metadata: Metadata;
  /** The other end of the connection: ADDRESS:PORT, or a word where there is none, as on a unix socket. */
  readonly peer: string;
  /** Aborts when the caller is gone or its deadline is past. */
  readonly signal: AbortSignal;
  /** The server's. */
  readonly log: Logger;
  /** For what the call begins outside of its own promises and callbacks, which are in its trace by themselves. */
  readonly tracer: Tracer;
  /** Opaque id of the account that the call is about, once that is known. For interceptors alone: nothing of it reaches the caller. */
  user?: string | undefined;
  /** As the server's `authenticate` has it, of a method for access tokens. */
  caller?: object | undefined;
  /**
   * Who calls is known by now, and what is left may take long: from here on the call takes turns with others of this account, and leaves its address's turn
   * to who comes next.
   * @throws RpcError RESOURCE_EXHAUSTED `rpc.busy`; the signal's reason when that aborts before the turn comes
   */
  takeTurnOf(account: string): Promise<void>;
}

/**
 * Stands between a server and the handlers of its methods. Throws what the call is refused with, or does `next` and gives its answer; a refusal passes
 * through it on its way to the caller, as the handler threw it.
 */
export type Interceptor = <T>(context: CallContext, next: () => Promise<T>) => Promise<T>;

/** One interceptor of several, the first outermost. */
export function chain(interceptors: readonly Interceptor[]): Interceptor {
  return (context, next) =>
    interceptors.reduceRight<typeof next>((inner, intercept) => () => intercept(context, inner), next)();
}
