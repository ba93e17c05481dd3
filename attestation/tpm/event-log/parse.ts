import { BytesError } from '../../bytes/reader';
import { LittleEndianReader } from '../../bytes/little-endian';
import { hex16, TPM_ALG } from '../constants';
import { DIGEST_SIZES, MAX_EVENT_LOG_BYTES, EVENT_TYPE, SPEC_ID_SIGNATURE } from './constants';
import { EventLogError } from './errors';

/** TCG_PCR_EVENT2 (PFP 10.2.2), of whose digests only the SHA-256 one is kept. */
export interface BootEvent {
  /** Position in the log; the Spec ID event is 0. */
  index: number;
  /** 0 to 23; any number for EV_NO_ACTION, which extends nothing. */
  pcr: number;
  /** TCG_EVENTTYPE. Not measured: whoever wrote the log chose it. */
  type: number;
  /** What the PCR of the SHA-256 bank was extended by; undefined: the event has no digest for that bank. */
  sha256: Buffer | undefined;
  /** What the log says about the event. Not measured, unless its hash is `sha256`. */
  data: Buffer;
}

/** A firmware's event log (PFP 10), read as far as it can be. */
export interface EventLog {
  /** TPM_ALG_IDs whose digests are in the log, as its first event lists them. */
  algorithms: number[];
  /** Those after the Spec ID event. */
  events: BootEvent[];
}

const PCRS = 24;
const MAX_ALGORITHMS = 16;
/** Far over any hash: an algorithm that is unknown here is skipped by the size that the log gives. */
const MAX_DIGEST_BYTES = 128;

/** A log as far as it could be read, and why no further. */
interface PartialEventLog {
  log: EventLog;
  error?: EventLogError | undefined;
}

/**
 * Parses a crypto-agile event log, as Linux has it in /sys/kernel/security/tpm0/binary_bios_measurements: a TCG_PCClientPCREvent with the
 * Spec ID (PFP 10.2.1, 10.4.5), then TCG_PCR_EVENT2s to the end of the bytes. Nothing in it is signed: see replayEventLog.
 * @throws EventLogError and nothing else
 */
export function parseEventLog(bytes: Uint8Array): EventLog {
  const { log, error } = readEventLog(bytes);
  if (error !== undefined) throw error;
  return log;
}

/** As `parseEventLog`, for who wants the events before the one that can't be read. Never throws. */
export function readEventLog(bytes: Uint8Array): PartialEventLog {
  const log: EventLog = { algorithms: [], events: [] };
  try {
    if (bytes.length > MAX_EVENT_LOG_BYTES)
      throw new EventLogError(
        'event_log.too_large',
        `expected an event log of ${MAX_EVENT_LOG_BYTES} bytes at most, got ${bytes.length}`,
      );
    const reader = new LittleEndianReader(bytes, 'event log');
    const sizes = readSpecId(reader);
    log.algorithms.push(...sizes.keys());
    while (reader.remaining > 0) log.events.push(readEvent(reader, sizes, log.events.length + 1));
    return { log };
  } catch (error) {
    if (error instanceof EventLogError) return { log, error };
    if (!(error instanceof BytesError)) throw error;
    return { log, error: new EventLogError('event_log.truncated', error.message, { cause: error }) };
  }
}

/** Digest sizes by algorithm, from TCG_EfiSpecIDEvent (PFP 10.4.5.1). */
function readSpecId(reader: LittleEndianReader): Map<number, number> {
  const pcr = reader.u32();
  const type = reader.u32();
  reader.take(20);
  const data = reader.take(reader.u32());
  if (type !== EVENT_TYPE.EV_NO_ACTION || !data.subarray(0, SPEC_ID_SIGNATURE.length).equals(SPEC_ID_SIGNATURE)) {
    if (pcr >= PCRS) throw malformed('a firmware event log', 'something else');
    throw new EventLogError(
      'event_log.sha1_only',
      'expected a crypto-agile event log, got one in the old form with SHA-1 digests only',
    );
  }
  const spec = new LittleEndianReader(data.subarray(SPEC_ID_SIGNATURE.length), 'Spec ID event');
  // platformClass, version minor, major, errata and uintnSize change nothing in how the rest is read.
  spec.take(8);
  const sizes = readAlgorithms(spec);
  // What follows is the vendor's own, of no meaning here. Firmware of several makers gives it a wrong size, or leaves its size out.
  if (!sizes.has(TPM_ALG.SHA256)) {
    throw new EventLogError(
      'event_log.no_sha256',
      `expected SHA-256 digests, got algorithms ${[...sizes.keys()].map(hex16).join(', ')}`,
    );
  }
  return sizes;
}

function readAlgorithms(spec: LittleEndianReader): Map<number, number> {
  const count = spec.u32();
  if (count < 1 || count > MAX_ALGORITHMS) throw malformed(`1 to ${MAX_ALGORITHMS} digest algorithms`, String(count));
  const sizes = new Map<number, number>();
  for (let at = 0; at < count; at++) {
    const algorithm = spec.u16();
    const size = spec.u16();
    const known = DIGEST_SIZES.get(algorithm);
    if (sizes.has(algorithm)) throw malformed('each digest algorithm once', `${hex16(algorithm)} again`);
    if (size < 1 || size > MAX_DIGEST_BYTES || (known !== undefined && size !== known)) {
      throw malformed(
        `digests of ${known ?? `1 to ${MAX_DIGEST_BYTES}`} bytes for algorithm ${hex16(algorithm)}`,
        String(size),
      );
    }
    sizes.set(algorithm, size);
  }
  return sizes;
}

function readEvent(reader: LittleEndianReader, sizes: ReadonlyMap<number, number>, index: number): BootEvent {
  const pcr = reader.u32();
  const type = reader.u32();
  if (pcr >= PCRS && type !== EVENT_TYPE.EV_NO_ACTION)
    throw malformed(`a PCR under ${PCRS} in event ${index}`, String(pcr));
  const sha256 = readDigests(reader, sizes, index);
  return { index, pcr, type, sha256, data: reader.take(reader.u32()) };
}

/**
 * TPML_DIGEST_VALUES, each algorithm of the Spec ID event at most once: a log with two answers for one bank has none. Firmware leaves banks out that it
 * lists, so an event counts for those that it has. Their number needs no bound: the first that isn't announced, or comes again, ends the reading.
 */
function readDigests(
  reader: LittleEndianReader,
  sizes: ReadonlyMap<number, number>,
  index: number,
): Buffer | undefined {
  const count = reader.u32();
  const digests = new Map<number, Buffer>();
  for (let at = 0; at < count; at++) {
    const algorithm = reader.u16();
    const size = sizes.get(algorithm);
    if (size === undefined || digests.has(algorithm))
      throw malformed(`each announced digest at most once in event ${index}`, `algorithm ${hex16(algorithm)}`);
    digests.set(algorithm, reader.take(size));
  }
  return digests.get(TPM_ALG.SHA256);
}

function malformed(expected: string, got: string): EventLogError {
  return new EventLogError('event_log.malformed', `event log: expected ${expected}, got ${got}`);
}
