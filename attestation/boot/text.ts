import type { BootComparison, EventDifference, PcrDifference } from './compare';
import { commandLineOf } from '../tpm/event-log/describe';
import type { MeasuredEvent } from './measured';

/** An event on one line: type, description, and whether the description is only the log's word. */
function eventText(event: MeasuredEvent): string {
  const text = `${event.type} ${event.description}`.trim();
  return event.measured === false
    ? `${text} (so the log says; its digest ${event.sha256.slice(0, 16)} is certain)`
    : text;
}

/** What made one PCR differ, on one line, without the PCR's values. */
export function causeText({ cause, commandLine, withoutDigest }: PcrDifference): string {
  if (cause === undefined)
    return withoutDigest === undefined
      ? 'by what is unknown: that takes an event log of both boots which leads to these values'
      : `by what is unknown: event ${withoutDigest} has no SHA-256 digest, and the log without it doesn't lead to this value`;
  const text = eventDifferenceText(cause);
  return commandLine === undefined ? text : `${text}; ${commandLineText(commandLine)}`;
}

function eventDifferenceText(cause: EventDifference): string {
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

/** The words by which two kernel command lines differ: whole lines are long, and `init=` would be lost in them. */
function commandLineText({ expected, got }: EventDifference): string {
  const words = (event: MeasuredEvent | undefined): string[] =>
    (event && commandLineOf(event.description))?.split(' ').filter(Boolean) ?? [];
  const before = words(expected);
  const now = words(got);
  const added = now.filter((word) => !before.includes(word));
  const missing = before.filter((word) => !now.includes(word));
  const changes = [
    ...(added.length === 0 ? [] : [`has ${added.join(' ')}`]),
    ...(missing.length === 0 ? [] : [`lacks ${missing.join(' ')}`]),
  ];
  return `the kernel command line ${changes.join(' and ') || 'has its words in another order'}`;
}

/** One line for a refusal: which PCRs differ from the golden state, what did it first, and how the kernel's command line differs. */
export function comparisonText({ differences, first }: BootComparison): string {
  if (first === undefined) return 'no PCR differs';
  const list = differences.map(({ pcr }) => pcr).join(', ');
  const which = differences.length === 1 ? `PCR ${list} differs` : `PCRs ${list} differ`;
  if (differences.length === 1) return `${which} ${causeText(first)}`;
  const text = `${which}, PCR ${first.pcr} first ${causeText(first)}`;
  // A changed grub.cfg is measured before what it changes.
  const { commandLine } = differences.find((difference) => difference.commandLine !== undefined) ?? {};
  return commandLine === undefined || first.commandLine !== undefined
    ? text
    : `${text}; ${commandLineText(commandLine)}`;
}
