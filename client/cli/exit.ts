/** Exit codes of sls. `sls exec` ends with the command's own status; 127: there is no such command, 126: it can't be run. */
export const EXIT = {
  ok: 0,
  failure: 1,
  usage: 2,
  authentication: 4,
  attestation: 5,
  unavailable: 6,
} as const;

/** A failure in the words of the person at the terminal: what failed, and what to do next. */
export class CliError extends Error {
  override readonly name = 'CliError';

  constructor(
    readonly exitCode: number,
    message: string,
    readonly details: {
      hint?: string;
      code?: string;
      step?: string;
      boot?: unknown;
      records?: { first: number; last: number } | undefined;
    } = {},
    options?: ErrorOptions,
  ) {
    super(message, options);
  }
}
