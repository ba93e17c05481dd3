import { CodedError } from '../../errors/coded-error';
import type { LogCode } from '../../errors/verifier';

/** Records of a log by their places, from 0: the first and the last one. */
export interface RecordRange {
  first: number;
  last: number;
}

/** The log contradicts itself, its signatures, or what it showed before. `code` is stable. */
export class LogError extends CodedError<LogCode> {
  override readonly name = 'LogError';
  /** Which records it is about, where that is known. */
  readonly records: RecordRange | undefined;

  constructor(
    code: LogCode,
    message: string,
    readonly hint?: string,
    { records, ...options }: ErrorOptions & { records?: RecordRange | undefined } = {},
  ) {
    super(code, message, options);
    this.records = records;
  }
}
