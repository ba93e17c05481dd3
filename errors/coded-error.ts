import type { Code } from './codes';

/**
 * What every error class of the project derives from: an error that programs tell apart by its stable `code`, never by its text or its class alone.
 * A code is `SUBJECT.REASON` in lower case. Which ones there are, and who gets them, is in the unions of `errors/`, so a mistyped one doesn't compile.
 *
 * @example
 * try {
 *   await login(trust, options);
 * } catch (error) {
 *   if (!hasCode(error, 'login.wrong_credentials')) throw error;
 *   console.error(error.message);
 * }
 */
export abstract class CodedError<C extends Code = Code> extends Error {
  /**
   * Of a refusal that a wrong clock can explain, where the client has compared the two: seconds by which this machine's clock is ahead of the service's, negative
   * where it is behind. Not a verdict: whoever answers may lie about the time.
   */
  clockAheadSeconds?: number | undefined;

  constructor(
    /** Stable: it changes with a major release alone. */
    readonly code: C,
    message: string,
    options?: ErrorOptions,
  ) {
    super(message, options);
  }
}

/** True for an error of the project's with one of these codes. */
export function hasCode<C extends Code>(error: unknown, ...codes: readonly C[]): error is CodedError<C> {
  return error instanceof CodedError && (codes as readonly Code[]).includes(error.code);
}
