import { CliError, EXIT } from './exit';

const DATE = /^\d{4}-\d{2}-\d{2}$/;
/** RFC 3339, with the seconds left out if one likes. The zone is not: which one a machine has is nobody's to guess. */
const TIME = /^\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}(:\d{2}(\.\d+)?)?(Z|[+-]\d{2}:\d{2})$/i;
const DAY_MS = 86_400_000;

/**
 * A time on the command line: a date, which is a day in UTC, or a time with its zone.
 * @param day what a date means: the beginning of its day, or all of it
 * @throws CliError 2
 */
export function parseTime(option: string, text: string, day: 'beginning' | 'end'): Date {
  const at = Date.parse(text.replace(' ', 'T'));
  if (!(DATE.test(text) || TIME.test(text)) || Number.isNaN(at) || !isThatDay(text))
    throw new CliError(
      EXIT.usage,
      `expected ${option} in ISO 8601, a date or a time with its zone, got ${JSON.stringify(text)}`,
      {
        hint: `such as 2027-01-31, a day in UTC, or 2027-01-31T18:00+01:00`,
      },
    );
  return new Date(DATE.test(text) && day === 'end' ? at + DAY_MS - 1000 : at);
}

/** Date.parse makes 31 February the 3 March. */
function isThatDay(text: string): boolean {
  const date = text.slice(0, 10);
  const at = Date.parse(date);
  return !Number.isNaN(at) && new Date(at).toISOString().startsWith(date);
}

/** Unix seconds as people and programs read them: ISO 8601, UTC. */
export function formatUnixSeconds(seconds: number | bigint): string {
  return new Date(Number(seconds) * 1000).toISOString();
}
