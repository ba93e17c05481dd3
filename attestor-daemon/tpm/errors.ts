type TpmCommandErrorCode =
  /** No TPM answers: it is away, or there is none. */
  | 'tpm.unavailable'
  /** It took longer than any TPM needs. */
  | 'tpm.timeout'
  /** The attestation key isn't in the TPM any more, or doesn't take its authorization. */
  | 'tpm.key_lost'
  /** Another key, no attestation key, stands at the handle. */
  | 'tpm.handle_in_use'
  /** PCR 23 was changed by somebody else between, each time that it was tried. */
  | 'tpm.pcr_disturbed'
  /** The TPM refused a command; `responseCode` says why. */
  | 'tpm.failed'
  /** tpm2-tools aren't installed. */
  | 'tpm.tools_missing';

/** A TPM operation that didn't succeed. `code` is stable. */
export class TpmCommandError extends Error {
  override readonly name = 'TpmCommandError';

  constructor(
    readonly code: TpmCommandErrorCode,
    message: string,
    /** TPM_RC (TPM 2.0 Part 2, 6.6), where the TPM answered with one. */
    readonly responseCode?: number,
    options?: ErrorOptions,
  ) {
    super(message, options);
  }
}
