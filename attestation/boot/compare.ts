import { commandLineOf } from '../tpm/event-log/describe';
import { isZero, statePcrs } from './state';
import type { BootState } from './state';
import type { MeasuredBoot, MeasuredEvent } from './measured';

/** Where two boots part: the first event of a PCR that isn't the same. */
export interface EventDifference {
  /** What the golden state has in this place; undefined: nothing, the golden boot was over. */
  expected: MeasuredEvent | undefined;
  /** What the machine measured; undefined: nothing, an event is missing. */
  got: MeasuredEvent | undefined;
}

/** One PCR that isn't as the golden state has it. */
export interface PcrDifference {
  pcr: number;
  /** Hexadecimal. */
  expected: string;
  got: string;
  /** Left out when it can't be known: no log, a log that doesn't lead to the quoted value, or a golden state without events. */
  cause?: EventDifference | undefined;
  /** The kernel's command lines, where this PCR has them and they differ. GRUB measures commands first, which say less and are longer. */
  commandLine?: EventDifference | undefined;
  /** Position of an event without a SHA-256 digest, to blame that the log doesn't lead to `got`. */
  withoutDigest?: number | undefined;
}

/** How a boot differs from a golden state; `differences` is empty when it doesn't. */
export interface BootComparison {
  state: string;
  differences: PcrDifference[];
  /** The difference that came first in the machine's log: what follows may be its consequence. */
  first?: PcrDifference | undefined;
}

/** The golden state that the boot is in, or undefined. Values alone decide; no log is believed here. */
export function matchingState(states: readonly BootState[], boot: Pick<MeasuredBoot, 'pcrs'>): BootState | undefined {
  return states.find((state) => statePcrs(state).every(({ pcr, value }) => boot.pcrs.get(pcr) === value));
}

/** Compares with one golden state, and finds by the events which one made the difference. */
export function compareBoot(state: BootState, boot: MeasuredBoot): BootComparison {
  const differences = statePcrs(state)
    .filter(({ pcr, value }) => boot.pcrs.get(pcr) !== value)
    .map(({ pcr, value }): PcrDifference => ({
      pcr,
      expected: value,
      got: boot.pcrs.get(pcr) ?? '',
      cause: findCause(state, boot, pcr),
      commandLine: findCommandLine(state, boot, pcr),
      withoutDigest: boot.withoutDigest.get(pcr),
    }));
  const known = differences.filter(({ cause }) => cause !== undefined);
  const position = ({ cause }: PcrDifference): number => cause?.got?.index ?? Infinity;
  const first = known.reduce<PcrDifference | undefined>(
    (best, next) => (best === undefined || position(next) < position(best) ? next : best),
    undefined,
  );
  return { state: state.name, differences, first: first ?? differences[0] };
}

/** The comparison with the fewest differences; undefined when there is no state at all. */
export function compareWithNearest(states: readonly BootState[], boot: MeasuredBoot): BootComparison | undefined {
  const comparisons = states.map((state) => compareBoot(state, boot));
  return comparisons.reduce<BootComparison | undefined>(
    (best, next) => (best === undefined || next.differences.length < best.differences.length ? next : best),
    undefined,
  );
}

function findCause(state: BootState, boot: MeasuredBoot, pcr: number): EventDifference | undefined {
  const got = boot.events.get(pcr);
  if (got === undefined || state.events === undefined) return undefined;
  const expected = state.events.filter((event) => event.pcr === pcr);
  // Recorded by its value alone: it was extended after the log of the golden boot ended.
  if (expected.length === 0 && !isZero(state.pcrs[String(pcr)])) return undefined;
  const length = Math.max(expected.length, got.length);
  for (let at = 0; at < length; at++) {
    if (expected[at]?.sha256 !== got[at]?.sha256) return { expected: expected[at], got: got[at] };
  }
  // The same events from another start: the locality of TPM2_Startup.
  return undefined;
}

function findCommandLine(state: BootState, boot: MeasuredBoot, pcr: number): EventDifference | undefined {
  const find = (events: readonly MeasuredEvent[] | undefined): MeasuredEvent | undefined =>
    events?.find((event) => event.pcr === pcr && commandLineOf(event.description) !== undefined);
  const expected = find(state.events);
  const got = find(boot.events.get(pcr));
  return expected?.sha256 === got?.sha256 ? undefined : { expected, got };
}
