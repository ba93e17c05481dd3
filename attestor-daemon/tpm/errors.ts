import { CodedError } from '../../errors/coded-error';
import type { TpmCommandCode } from '../../errors/operator';

/** A TPM operation that didn't succeed. `code` is stable. */
export class TpmCommandError extends CodedError<TpmCommandCode> {
  override readonly name = 'TpmCommandError';

  constructor(
    code: TpmCommandCode,
    message: string,
    /** TPM_RC (TPM 2.0 Part 2, 6.6), where the TPM answered with one. */
    readonly responseCode?: number,
    options?: ErrorOptions,
  ) {
    super(code, message, options);
  }
}
