import { CodedError } from '../errors/coded-error';
import type { LauncherCode } from '../errors/operator';

/** The installation can't be run. `hint` says what to do about it. */
export class LauncherError extends CodedError<LauncherCode> {
  override readonly name = 'LauncherError';

  constructor(
    code: LauncherCode,
    message: string,
    readonly hint?: string,
    options?: ErrorOptions,
  ) {
    super(code, message, options);
  }
}
