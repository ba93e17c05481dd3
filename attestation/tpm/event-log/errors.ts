import { CodedError } from '../../../errors/coded-error';
import type { EventLogCode } from '../../../errors/verifier';

/** A firmware event log that can't be taken. `code` is stable. */
export class EventLogError extends CodedError<EventLogCode> {
  override readonly name = 'EventLogError';
}
