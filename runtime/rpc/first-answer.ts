import { Metadata } from '@grpc/grpc-js';
import { ruleOf } from './rules';

/** From a call to the first word of its answer: who calls waits no longer for it. */
export const FIRST_ANSWER_MS = 30_000;

/** What may last longer than a caller waits for the first word begins its answer at once, so that silence means that nobody is there. */
export function beginAnswer(call: { getPath(): string; sendMetadata(metadata: Metadata): void }): void {
  const { timeout } = ruleOf(call.getPath());
  if (typeof timeout === 'object' && 'deadlineMs' in timeout && timeout.deadlineMs > FIRST_ANSWER_MS)
    call.sendMetadata(new Metadata());
}
