/** A firmware event log that can't be taken. `code` is stable. */
export class EventLogError extends Error {
  override readonly name = 'EventLogError';

  constructor(
    readonly code:
      /** Over MAX_EVENT_LOG_BYTES. */
      | 'event_log.too_large'
      /** The bytes end inside an event. */
      | 'event_log.truncated'
      /** A value that the profile doesn't allow in this place. */
      | 'event_log.malformed'
      /** The old form, which has SHA-1 digests only. */
      | 'event_log.sha1_only'
      /** Crypto-agile, without the SHA-256 bank. */
      | 'event_log.no_sha256',
    message: string,
    options?: ErrorOptions,
  ) {
    super(message, options);
  }
}
