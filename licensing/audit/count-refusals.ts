import { status } from '@grpc/grpc-js';
import type { Interceptor } from '../../runtime/rpc/call';
import { RpcError } from '../../runtime/rpc/errors';
import type { Refusals } from './refusals';

/** Decisions, as against mistakes of the caller and failures of our own. */
const DECISIONS = new Set([
  status.UNAUTHENTICATED,
  status.PERMISSION_DENIED,
  status.RESOURCE_EXHAUSTED,
  status.FAILED_PRECONDITION,
]);
/** Codes that say nothing about the caller: of the transport, and of the log itself. */
const NO_DECISION = /^(rpc|audit)\./;

/** Counts the refusals of every method that a server serves, and whom they were about, where that was known (`CallContext.user`). */
export function countRefusals(refusals: Refusals): Interceptor {
  return async (context, next) => {
    try {
      return await next();
    } catch (error) {
      if (error instanceof RpcError && DECISIONS.has(error.grpcStatus) && !NO_DECISION.test(error.code))
        refusals.count({ reason: error.code, user: context.user });
      throw error;
    }
  };
}
