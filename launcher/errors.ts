/** The installation can't be run. `hint` says what to do about it. */
export class LauncherError extends Error {
  override readonly name = 'LauncherError';

  constructor(
    readonly code:
      | 'launcher.folder'
      | 'launcher.in_use'
      | 'launcher.not_built'
      | 'launcher.path_too_long'
      | 'launcher.start_failed'
      | 'launcher.stopped',
    message: string,
    readonly hint?: string,
    options?: ErrorOptions,
  ) {
    super(message, options);
  }
}
