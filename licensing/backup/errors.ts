import { CodedError } from '../../errors/coded-error';
import type { BackupCode } from '../../errors/operator';

/** A backup can't be made, read or restored. `code` is stable; messages hold no content of it. */
export class BackupError extends CodedError<BackupCode> {
  override readonly name = 'BackupError';

  constructor(
    code: BackupCode,
    message: string,
    readonly hint?: string,
    options?: ErrorOptions,
  ) {
    super(code, message, options);
  }
}
