import type { PcrValue } from '../../proto/gen/licensing/v1/evidence';
import { describeEvent } from '../tpm/event-log/describe';
import { EventLogError } from '../tpm/event-log/errors';
import { parseEventLog } from '../tpm/event-log/parse';
import type { EventLog } from '../tpm/event-log/parse';
import { extendingEvents, replayEventLog } from '../tpm/event-log/replay';

/** PCRs that firmware and boot loader extend before the operating system runs (PC Client Platform Firmware Profile, 3.3.4). */
export const BOOT_PCRS: readonly number[] = [0, 1, 2, 3, 4, 5, 6, 7];

/** An event of a boot, as it is kept in a golden state and shown to people. */
export interface MeasuredEvent {
  pcr: number;
  /** EV_EFI_ACTION. */
  type: string;
  /** Hexadecimal. */
  sha256: string;
  description: string;
  /** False: the digest is certain, type and description are the log's word. Left out: not known any more. */
  measured?: boolean | undefined;
  /** Position in the log; left out where the event comes from a golden state. */
  index?: number | undefined;
}

/** What quoted PCRs and the log that came with them tell together. */
export interface MeasuredBoot {
  /** Hexadecimal, by PCR. */
  pcrs: ReadonlyMap<number, string>;
  /** Events by PCR, for those PCRs whose quoted value the log's replay gives, and no others. */
  events: ReadonlyMap<number, readonly MeasuredEvent[]>;
  /** PCRs of which the log says something that isn't so, or everything when it can't be read. */
  contradicted: number[];
  /** Why the log can't be read. */
  unreadable?: EventLogError | undefined;
}

/**
 * @param pcrs of verified evidence: the log is measured against them
 * @param eventLog of the same evidence; anything at all may be in it
 */
export function readMeasuredBoot(pcrs: readonly PcrValue[], eventLog: Uint8Array | undefined): MeasuredBoot {
  const quoted = new Map(
    pcrs.filter(({ index }) => BOOT_PCRS.includes(index)).map(({ index, sha256 }) => [index, sha256.toString('hex')]),
  );
  if (eventLog === undefined || eventLog.length === 0) return { pcrs: quoted, events: new Map(), contradicted: [] };
  try {
    const log = parseEventLog(eventLog);
    const replayed = replayEventLog(log).map((value) => value.toString('hex'));
    const isTrue = (pcr: number): boolean => quoted.get(pcr) === replayed[pcr];
    return {
      pcrs: quoted,
      events: eventsOf(log, BOOT_PCRS.filter(isTrue)),
      contradicted: BOOT_PCRS.filter((pcr) => !isTrue(pcr)),
    };
  } catch (error) {
    if (!(error instanceof EventLogError)) throw error;
    return { pcrs: quoted, events: new Map(), contradicted: [...BOOT_PCRS], unreadable: error };
  }
}

function eventsOf(log: EventLog, pcrs: readonly number[]): Map<number, MeasuredEvent[]> {
  const events = new Map<number, MeasuredEvent[]>(pcrs.map((pcr) => [pcr, []]));
  for (const event of extendingEvents(log)) {
    const { type, text, measured } = describeEvent(event);
    events.get(event.pcr)?.push({
      pcr: event.pcr,
      type,
      sha256: event.sha256.toString('hex'),
      description: text,
      measured,
      index: event.index,
    });
  }
  return events;
}
