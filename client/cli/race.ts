import { RpcError } from '../index';
import { systemClock } from '../../runtime/clock';

/** Until the process that was faster has saved what it got. */
const WAIT_MS = 1_500;
/** Together longer than a refresh token rests after its use: then it is good again, where nobody got its answer. */
const WAITS = 4;

/** True of a refusal because another process renewed the session at this moment, or because the answer of a call a moment ago was lost. */
function isRaced(error: unknown): boolean {
  return error instanceof RpcError && error.code === 'login.refresh_raced';
}

/**
 * Does what uses the saved session's refresh token, again where another process was faster.
 * @param work reads the saved session anew each time
 */
export async function retryAfterRaces<T>(work: () => Promise<T>, signal?: AbortSignal): Promise<T> {
  for (let left = WAITS; ; left--) {
    try {
      return await work();
    } catch (error) {
      if (left === 0 || !isRaced(error)) throw error;
      await systemClock.sleep(WAIT_MS, signal);
    }
  }
}
