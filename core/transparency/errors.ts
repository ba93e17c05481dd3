/** The log contradicts itself, its signatures, or what it showed before. `code` is stable. */
export class LogError extends Error {
  override readonly name = 'LogError';

  constructor(
    readonly code:
      | 'log.head_malformed'
      | 'log.head_signature'
      | 'log.head_stale'
      | 'log.rolled_back'
      | 'log.forked'
      | 'log.proof_wrong'
      | 'log.record_missing'
      | 'log.record_wrong'
      | 'log.tampered',
    message: string,
    readonly hint?: string,
    options?: ErrorOptions,
  ) {
    super(message, options);
  }
}
