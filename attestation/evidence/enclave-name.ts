import type { Claims } from '../../proto/gen/licensing/v1/evidence';

/** The enclave of who names none. */
export const DEFAULT_ENCLAVE = 'default';

/** A DNS label (RFC 1123, 2.1) in lower case, 63 characters at most: what two names differ in can be seen, and nothing in it means anything to a path. */
const NAME = /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/;

export function isEnclaveName(text: string): boolean {
  return NAME.test(text);
}

/** As claims spell it. */
export function claimedName(name = DEFAULT_ENCLAVE): string {
  return name === DEFAULT_ENCLAVE ? '' : name;
}

/** Which of its user's enclaves the claims are about. */
export function enclaveOf({ enclave }: Pick<Claims, 'enclave'>): string {
  return enclave === '' ? DEFAULT_ENCLAVE : enclave;
}
