import type { BootComparison, PcrDifference } from './compare';
import type { MeasuredEvent } from './measured';

/** An event on one line: type, description, and whether the description is only the log's word. */
export function eventText(event: MeasuredEvent): string {
  const text = `${event.type} ${event.description}`.trim();
  return event.measured === false
    ? `${text} (so the log says; its digest ${event.sha256.slice(0, 16)} is certain)`
    : text;
}

/** What made one PCR differ, on one line, without the PCR's values. */
export function causeText({ cause }: PcrDifference): string {
  if (cause === undefined)
    return 'by what is unknown: that takes an event log of both boots which leads to these values';
  const { expected, got } = cause;
  if (got === undefined) return `by a missing event: ${expected === undefined ? 'none' : eventText(expected)}`;
  const place = `by event ${got.index ?? '?'}:`;
  if (expected === undefined) return `${place} ${eventText(got)}, where nothing more was expected`;
  if (expected.type !== got.type || expected.description !== got.description)
    return `${place} ${eventText(got)}, expected ${eventText(expected)}`;
  return (
    `${place} ${got.type} ${got.description}`.trim() +
    `, whose content has digest ${got.sha256}, expected ${expected.sha256}`
  );
}

/** One line for a refusal: which PCRs differ from the golden state, and what did it first. */
export function comparisonText({ differences, first }: BootComparison): string {
  const list = differences.map(({ pcr }) => pcr).join(', ');
  const which = differences.length === 1 ? `PCR ${list} differs` : `PCRs ${list} differ`;
  if (first === undefined) return which;
  return differences.length === 1
    ? `${which} ${causeText(first)}`
    : `${which}, PCR ${first.pcr} first ${causeText(first)}`;
}
