import { RpcError } from '../index';
import type { Output } from './output';
import { askCode } from './prompt';

/** A code may be mistyped on a terminal. */
const CODE_TRIES = 3;

/**
 * Does what a password is needed for, and asks for a code once the service wants one: until the password was right, nobody is told whether the user has a
 * second factor.
 */
export async function withSecondFactor<T>(
  out: Output,
  { fromStdin }: { fromStdin: boolean },
  attempt: (oneTimeCode: string | undefined) => Promise<T>,
): Promise<T> {
  let oneTimeCode: string | undefined;
  for (let left = fromStdin ? 1 : CODE_TRIES; ; left--) {
    try {
      return await attempt(oneTimeCode);
    } catch (error) {
      const code = error instanceof RpcError ? error.code : '';
      if (left === 0 || !/^login\.second_factor_(required|wrong)$/.test(code)) throw error;
      if (oneTimeCode === undefined) out.finish();
      else out.warning((error as Error).message);
      oneTimeCode = await askCode({ fromStdin });
    }
  }
}
