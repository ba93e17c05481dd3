import type { ClockInfo } from '../../tpm/quote';

/** Something to tell the user that is no reason to refuse. `code` is stable. */
export interface Warning {
  code:
    | 'quote.clock_unsafe'
    | 'quote.clock_backwards'
    | 'policy.software_tpm'
    | 'event_log.unreadable'
    | 'event_log.contradicted';
  message: string;
}

/**
 * What the TPM's clock says (Part 1, 36): `safe` is false after an unorderly shutdown, and counters only grow, unless the TPM was cleared or is another.
 * @param previous clock of an earlier quote by the same key
 */
export function clockWarnings(clock: ClockInfo, previous: ClockInfo | undefined): Warning[] {
  const warnings: Warning[] = [];
  if (!clock.safe) {
    warnings.push({
      code: 'quote.clock_unsafe',
      message: "the TPM's clock is not safe: it was shut down without notice, and may report a time again",
    });
  }
  if (previous !== undefined && isBackwards(clock, previous)) {
    const at = ({ resetCount, restartCount, clock }: ClockInfo): string => `${resetCount}.${restartCount}.${clock}`;
    warnings.push({
      code: 'quote.clock_backwards',
      message: `expected the TPM's clock to be at ${at(previous)} or later, got ${at(clock)}`,
    });
  }
  return warnings;
}

function isBackwards(clock: ClockInfo, previous: ClockInfo): boolean {
  if (clock.resetCount !== previous.resetCount) return isBefore(clock.resetCount, previous.resetCount);
  if (clock.restartCount !== previous.restartCount) return isBefore(clock.restartCount, previous.restartCount);
  return clock.clock < previous.clock;
}

/** A TPM adds a constant of the key's to both counters before it signs (Part 2, 10.12.12), modulo 2^32: so they may wrap at any time. */
function isBefore(count: number, previous: number): boolean {
  return (count - previous) >>> 0 >= 2 ** 31;
}
