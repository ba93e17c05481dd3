import { status } from '@grpc/grpc-js';
import { RpcError } from './errors';
import { ruleOf } from './rules';

/**
 * Calls `late` when the other end of a call has done nothing for as long as the method's rule allows; never for a method without such a bound.
 * @returns what ends the wait
 */
export function whenIdle(path: string, late: (error: RpcError) => void): () => void {
  const { timeout } = ruleOf(path);
  if (typeof timeout === 'string' || !('idleMs' in timeout)) return () => undefined;
  const { idleMs } = timeout;
  const timer = setTimeout(
    () => late(new RpcError('rpc.idle', status.DEADLINE_EXCEEDED, `expected something to happen within ${idleMs} ms`)),
    idleMs,
  );
  return () => clearTimeout(timer);
}
