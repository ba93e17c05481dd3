import type { OwnLicenceState, Plan } from '../index';
import { row } from './report';

/** What a plan allows, as lines. */
export function describePlan({ images, enclaves, seats, cpu, memory }: Plan): string[] {
  return [
    ['images', images?.join(' ') ?? 'any that the operator allows'],
    ['enclaves', `${enclaves} of each user`],
    ['seats', `${seats} sessions at once`],
    ['cpu', cpu ?? "the operator's default"],
    ['memory', memory ?? "the operator's default"],
  ].map((line) => `    ${row(line as [string, string])}`);
}

/** How a licence stands, in words. */
export function describeState(state: OwnLicenceState, until: Date, graceUntil: Date): string {
  switch (state) {
    case 'valid':
      return `until ${until.toISOString()}`;
    case 'grace':
      return `ENDED at ${until.toISOString()}, logins work until ${graceUntil.toISOString()}`;
    case 'expired':
      return `EXPIRED at ${until.toISOString()}`;
    case 'revoked':
      return 'REVOKED';
  }
}
