import type { PcrValue } from '../../proto/gen/licensing/v1/evidence';
import { describeEvent } from '../tpm/event-log/describe';
import { EventLogError } from '../tpm/event-log/errors';
import { readEventLog } from '../tpm/event-log/parse';
import type { EventLog } from '../tpm/event-log/parse';
import { extendingEvents, replayFrom, startupLocality } from '../tpm/event-log/replay';

/** PCRs that the firmware's log accounts for in full (PC Client Platform Firmware Profile, 3.3.4). */
export const FIRMWARE_PCRS: readonly number[] = [0, 1, 2, 3, 4, 5, 6, 7];

/**
 * PCRs that boot loader, kernel and operating system extend: 8 and 9 GRUB, 10 IMA, 11 to 13 systemd-stub, 14 shim, 15 systemd (UAPI "Linux TPM PCR
 * Registry"). What runs after the firmware handed over isn't in its log.
 */
export const LOADER_PCRS: readonly number[] = [8, 9, 10, 11, 12, 13, 14, 15];

/** PCRs of the static root of trust, which a golden state can name. */
export const BOOT_PCRS: readonly number[] = [...FIRMWARE_PCRS, ...LOADER_PCRS];

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
  /** Whether a log came with the evidence, readable or not. */
  hasLog: boolean;
  /** Hexadecimal, by PCR. */
  pcrs: ReadonlyMap<number, string>;
  /** Events by PCR, for those PCRs whose quoted value the log's replay gives, and no others. */
  events: ReadonlyMap<number, readonly MeasuredEvent[]>;
  /** PCRs of 0 to 7 of which the log says something that isn't so, or says nothing because it can't be read that far. */
  contradicted: number[];
  /** PCRs of 8 to 15 that hold something else than the log leads to: they were extended after the firmware's log ended, or the log isn't true of them. */
  extendedLater: number[];
  /** PCRs of 8 to 15 of which the log has events, whether they lead to the quoted value or not. */
  loaderPcrs: number[];
  /** By PCR whose quoted value the log doesn't lead to: position of its first event without a SHA-256 digest, which is to blame. */
  withoutDigest: ReadonlyMap<number, number>;
  /** Why the log can't be read to its end. */
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
  if (eventLog === undefined || eventLog.length === 0) return { ...NO_LOG, pcrs: quoted };
  const { log, error } = readEventLog(eventLog);
  const locality = readLocality(log);
  const replayed = replayFrom(locality instanceof EventLogError ? 0 : locality, log);
  const unreadable = error ?? (locality instanceof EventLogError ? locality : undefined);
  // A replay that ends in the quoted value is true, wherever the log breaks off and whatever else is wrong with it.
  const isTrue = (pcr: number): boolean => quoted.get(pcr) === replayed[pcr]?.value.toString('hex');
  const logged = new Set(extendingEvents(log).map(({ pcr }) => pcr));
  return {
    hasLog: true,
    pcrs: quoted,
    events: eventsOf(log, BOOT_PCRS.filter(isTrue)),
    contradicted: FIRMWARE_PCRS.filter((pcr) => !isTrue(pcr)),
    extendedLater: LOADER_PCRS.filter((pcr) => quoted.has(pcr) && !isTrue(pcr)),
    loaderPcrs: LOADER_PCRS.filter((pcr) => logged.has(pcr)),
    withoutDigest: new Map(
      replayed.flatMap(({ withoutDigest }, pcr) =>
        withoutDigest === undefined || !quoted.has(pcr) || isTrue(pcr) ? [] : [[pcr, withoutDigest] as const],
      ),
    ),
    unreadable,
  };
}

function readLocality(log: EventLog): number | EventLogError {
  try {
    return startupLocality(log);
  } catch (error) {
    if (error instanceof EventLogError) return error;
    throw error;
  }
}

const NO_LOG: Omit<MeasuredBoot, 'pcrs'> = {
  hasLog: false,
  events: new Map(),
  contradicted: [],
  extendedLater: [],
  loaderPcrs: [],
  withoutDigest: new Map(),
};

function eventsOf(log: EventLog, pcrs: readonly number[]): Map<number, MeasuredEvent[]> {
  const events = new Map<number, MeasuredEvent[]>(pcrs.map((pcr) => [pcr, []]));
  for (const event of extendingEvents(log)) {
    if (event.sha256 === undefined) continue;
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
