/** Records of a log by their places, from 0: the first and the last one. */
export interface RecordRange {
  first: number;
  last: number;
}

/** The log contradicts itself, its signatures, or what it showed before. `code` is stable. */
export class LogError extends Error {
  override readonly name = 'LogError';
  /** Which records it is about, where that is known. */
  readonly records: RecordRange | undefined;

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
    { records, ...options }: ErrorOptions & { records?: RecordRange | undefined } = {},
  ) {
    super(message, options);
    this.records = records;
  }
}
