import { readMeasuredBoot } from '../../attestation/boot/measured';
import type { MeasuredBoot } from '../../attestation/boot/measured';
import { parseEventLog } from '../../attestation/tpm/event-log/parse';
import { replayEventLog } from '../../attestation/tpm/event-log/replay';
import type { PcrValue } from '../../proto/gen/licensing/v1/evidence';
import { encodeEventLog } from './event-log';
import type { EventInput } from './event-log';

/** PCRs 0 to 15 of a machine that measured these events. */
export function pcrsOf(events: readonly EventInput[]): PcrValue[] {
  const values = replayEventLog(parseEventLog(encodeEventLog(events)));
  return values.map(({ value }, index) => ({ index, sha256: value }));
}

/** The boot of a machine that measured `events` and has a log of `told`. */
export function bootOf(events: readonly EventInput[], told: readonly EventInput[] = events): MeasuredBoot {
  return readMeasuredBoot(pcrsOf(events), encodeEventLog(told));
}
