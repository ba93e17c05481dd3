import { compareWithNearest } from '../../attestation/boot/compare';
import type { MeasuredBoot } from '../../attestation/boot/measured';
import { statePcrs } from '../../attestation/boot/state';
import type { BootState } from '../../attestation/boot/state';
import { causeText } from '../../attestation/boot/text';

/** How a machine booted, PCR by PCR, beside the golden state that is nearest to it: for people and programs. */
export function explainBoot(
  states: readonly BootState[] | undefined,
  boot: MeasuredBoot,
): { json: unknown; lines: string[] } {
  const nearest = compareWithNearest(states ?? [], boot);
  const state = states?.find(({ name }) => name === nearest?.state);
  const demanded = new Map(state === undefined ? [] : statePcrs(state).map(({ pcr, value }) => [pcr, value]));
  const rows = [...boot.pcrs].map(([pcr, value]) => {
    const difference = nearest?.differences.find((one) => one.pcr === pcr);
    const verdict = difference !== undefined ? 'differs' : demanded.has(pcr) ? 'same' : 'any';
    return { pcr, value, verdict, expected: demanded.get(pcr), cause: difference && causeText(difference) };
  });
  const lines = rows.flatMap(({ pcr, value, verdict, expected, cause }) => [
    `    PCR ${pcr}  ${verdict.padEnd(8)} ${value}`,
    ...(cause === undefined ? [] : [`           expected ${expected}`, `           ${cause}`]),
  ]);
  const first = nearest?.first;
  if (first !== undefined && (nearest?.differences.length ?? 0) > 1)
    lines.push(`    first to differ: PCR ${first.pcr} ${causeText(first)}`);
  return {
    json: { state: nearest?.state, pcrs: rows, first: first?.pcr, eventLog: logText(boot) },
    lines: [
      `boot: ${headline(states, nearest?.state, nearest?.differences.length)}`,
      ...lines,
      `    event log: ${logText(boot)}`,
    ],
  };
}

function headline(
  states: readonly BootState[] | undefined,
  nearest: string | undefined,
  differences: number | undefined,
): string {
  if (states === undefined || nearest === undefined) return 'the trust bundle requires no boot state';
  const which =
    states.length === 1 ? `golden state ${nearest}` : `golden state ${nearest}, the nearest of ${states.length}`;
  return differences === 0 ? `as in ${which}` : `not as in ${which}`;
}

function logText({ hasLog, events, contradicted, extendedLater, withoutDigest, unreadable }: MeasuredBoot): string {
  if (!hasLog) return 'none in the evidence (sls login --event-log requests it)';
  const believed = [...events].filter(([, list]) => list.length > 0);
  const count = believed.reduce((sum, [, list]) => sum + list.length, 0);
  const notes = [
    `${count} events lead to the quoted values of PCRs ${believed.map(([pcr]) => pcr).join(', ') || 'none'}`,
    ...(contradicted.length === 0 ? [] : [`not believed of PCRs ${contradicted.join(', ')}`]),
    ...(extendedLater.length === 0 ? [] : [`PCRs ${extendedLater.join(', ')} were extended after it ended`]),
    ...[...withoutDigest].map(([pcr, index]) => `event ${index} has no SHA-256 digest for PCR ${pcr}`),
    ...(unreadable === undefined ? [] : [`not readable to its end: ${unreadable.message}`]),
  ];
  return notes.join('; ');
}
