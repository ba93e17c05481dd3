import type { MeasuredBoot } from './measured';

/** Why the log isn't believed of these PCRs, on one line, with the event that is to blame where one is. */
export function contradictionText(boot: MeasuredBoot, pcrs: readonly number[]): string {
  const { unreadable, withoutDigest } = boot;
  const blamed = pcrs.flatMap((pcr) => {
    const index = withoutDigest.get(pcr);
    return index === undefined ? [] : [`event ${index} has no SHA-256 digest for PCR ${pcr}`];
  });
  const why = [...(unreadable === undefined ? [] : [unreadable.message]), ...blamed];
  const text = `expected an event log that leads to the quoted PCRs, got another value for ${pcrs.join(', ')}`;
  return why.length === 0 ? text : `${text}: ${why.join('; ')}`;
}
