import { CodedError } from '../../errors/coded-error';
import type { Code } from '../../errors/codes';

/** Exit codes of sls. `sls exec` ends with the command's own status; 127: there is no such command, 126: it can't be run. */
export const EXIT = {
  ok: 0,
  failure: 1,
  usage: 2,
  authentication: 4,
  attestation: 5,
  unavailable: 6,
} as const;

/** As a shell has it of a program that SIGPIPE ended. */
export const BROKEN_PIPE = 141;

/** What Node.js calls a failed system call or its own refusal: ENOENT, ERR_INVALID_ARG_TYPE. */
type SystemCode = `E${string}`;

/** A failure in the words of the person at the terminal: what failed, and what to do next. */
export class CliError extends CodedError {
  override readonly name = 'CliError';

  constructor(
    readonly exitCode: number,
    message: string,
    readonly details: {
      hint?: string | undefined;
      /** Told to scripts, where there is one. */
      code?: Code | SystemCode | undefined;
      step?: string | undefined;
      boot?: unknown;
      records?: { first: number; last: number } | undefined;
      /** Where a clock may be why: seconds by which this machine's is ahead of the service's. */
      clockAheadSeconds?: number | undefined;
    } = {},
    options?: ErrorOptions,
  ) {
    super(isCode(details.code) ? details.code : 'sls.failed', message, options);
  }
}

/** True for what Node.js itself throws. */
export function isSystemError(error: unknown): error is Error & { code: SystemCode } {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' && error.code.startsWith('E');
}

/** Whoever read our output has ended, as head(1) does: no failure of ours, and nothing to tell anybody. */
export function isBrokenPipe(error: unknown): boolean {
  return isSystemError(error) && error.code === 'EPIPE';
}

function isCode(code: Code | SystemCode | undefined): code is Code {
  return code !== undefined && !code.startsWith('E');
}
