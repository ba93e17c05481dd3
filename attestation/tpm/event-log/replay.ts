import { extendPcr } from '../pcr';
import { EVENT_TYPE, STARTUP_LOCALITY_SIGNATURE } from './constants';
import { EventLogError } from './errors';
import type { BootEvent, EventLog } from './parse';

/** PCRs of the static root of trust: reset with the machine and by nothing else (PC Client Platform TPM Profile, 4.6). */
const STATIC_PCRS = 16;
/** Where TPM2_Startup may come from (PFP 10.4.5.3): 3 for an early start by the CPU, 4 after an H-CRTM. */
const LOCALITIES = [0, 3, 4];

/** Where the log's events lead one PCR. */
export interface ReplayedPcr {
  /** 32 bytes. An event without a SHA-256 digest counts for other banks, and not here. */
  value: Buffer;
  /** Position of the first such event: the one to blame when `value` isn't the quoted one. */
  withoutDigest?: number;
}

/**
 * What PCRs 0 to 15 hold in the SHA-256 bank after every event of the log. The log is true of a PCR, as far as its digests go, when this value is
 * the quoted one; a PCR with another value says that events are missing, invented or in another order.
 * @returns 16 of them, by PCR
 * @throws EventLogError for a start-up locality which comes twice, late or isn't one
 */
export function replayEventLog(log: EventLog): ReplayedPcr[] {
  return replayFrom(startupLocality(log), log);
}

/** The same from a locality that the log needn't state. */
export function replayFrom(locality: number, log: EventLog): ReplayedPcr[] {
  const replayed: ReplayedPcr[] = Array.from({ length: STATIC_PCRS }, () => ({ value: Buffer.alloc(32) }));
  // PCR 0 starts with the locality in its last byte (TPM 2.0 Part 3, 9.3).
  replayed[0]?.value.writeUInt8(locality, 31);
  for (const { index, pcr, sha256 } of extendingEvents(log)) {
    const before = replayed[pcr];
    if (before === undefined) continue;
    if (sha256 === undefined) before.withoutDigest ??= index;
    else before.value = extendPcr(before.value, sha256);
  }
  return replayed;
}

/** All but EV_NO_ACTION, which is a note in the log and nothing else (PFP 10.4.1). */
export function extendingEvents(log: EventLog): BootEvent[] {
  return log.events.filter(({ type }) => type !== EVENT_TYPE.EV_NO_ACTION);
}

/** 0 where no event says otherwise. */
export function startupLocality(log: EventLog): number {
  let locality: number | undefined;
  let extended = false;
  for (const event of log.events) {
    extended ||= event.pcr === 0 && event.type !== EVENT_TYPE.EV_NO_ACTION;
    if (event.pcr !== 0 || !isStartupLocality(event)) continue;
    const said = event.data.subarray(STARTUP_LOCALITY_SIGNATURE.length);
    if (locality !== undefined || extended)
      throw malformed('one start-up locality, before PCR 0 is extended', `another in event ${event.index}`);
    if (said.length !== 1 || !LOCALITIES.includes(said.readUInt8())) {
      throw malformed(`a start-up locality of ${LOCALITIES.join(', ')}`, said.toString('hex').slice(0, 16) || 'none');
    }
    locality = said.readUInt8();
  }
  return locality ?? 0;
}

function isStartupLocality({ type, data }: BootEvent): boolean {
  return (
    type === EVENT_TYPE.EV_NO_ACTION &&
    data.subarray(0, STARTUP_LOCALITY_SIGNATURE.length).equals(STARTUP_LOCALITY_SIGNATURE)
  );
}

function malformed(expected: string, got: string): EventLogError {
  return new EventLogError('event_log.malformed', `event log: expected ${expected}, got ${got}`);
}
