import { CodedError } from '../../../errors/coded-error';
import { dateOf, systemClock } from '../../../runtime/clock';
import { isTlsTime } from '../../clocks';
import { CliError } from '../exit';

/** Clocks that differ by less explain nothing, and the comparison itself is not exact. */
const SAME_SECONDS = 30;
const UNITS = [
  ['day', 86_400],
  ['hour', 3_600],
  ['minute', 60],
  ['second', 1],
] as const;

/** "2 minutes", "1 day 3 hours": the largest unit, and the next one where that says something. */
function duration(seconds: number): string {
  const first = UNITS.findIndex(([, size]) => seconds >= size);
  const at = first < 0 ? UNITS.length - 1 : first;
  const [name, size] = UNITS[at]!;
  const whole = Math.floor(seconds / size);
  const next = UNITS[at + 1];
  const rest = next ? Math.round((seconds - whole * size) / next[1]) : 0;
  const plural = (count: number, unit: string): string => `${count} ${unit}${count === 1 ? '' : 's'}`;
  return rest === 0 || !next || whole >= 10 ? plural(whole, name) : `${plural(whole, name)} ${plural(rest, next[0])}`;
}

/** The first error of a chain of causes for which the clocks were to be compared. */
function refusalByClock(error: unknown): CodedError | undefined {
  for (let cause = error; cause instanceof Error; cause = cause.cause)
    if (cause instanceof CodedError && (cause.clockAheadSeconds !== undefined || isTlsTime(cause))) return cause;
  return undefined;
}

/** Where a clock explains a refusal, the hint is the clock: nobody has to stand between for it. */
export function withClocks(failure: CliError, error: unknown): CliError {
  const refusal = refusalByClock(error);
  if (refusal === undefined) return failure;
  const { clockAheadSeconds: ahead } = refusal;
  const { exitCode, message, details } = failure;
  const told = (hint: string | undefined): CliError =>
    new CliError(exitCode, message, { ...details, hint, clockAheadSeconds: ahead }, { cause: error });
  if (ahead === undefined)
    return told(
      `is this machine's clock right? It shows ${dateOf(systemClock).toISOString()}. The service's can't be read; if yours is right, tell your operator`,
    );
  if (Math.abs(ahead) < SAME_SECONDS) return told(details.hint);
  const side = ahead > 0 ? 'ahead of' : 'behind';
  return told(
    `this machine's clock is ${duration(Math.abs(ahead))} ${side} the service's: set right the one that is wrong, and try again`,
  );
}
