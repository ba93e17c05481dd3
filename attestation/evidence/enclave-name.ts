import type { Claims } from '../../proto/gen/licensing/v1/evidence';

/** The enclave of who names none. */
export const DEFAULT_ENCLAVE = 'default';

/** A DNS label (RFC 1123, 2.1) in lower case, 63 characters at most: what two names differ in can be seen, and nothing in it means anything to a path. */
const NAME = /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/;

/** The rule in words, for messages. */
export const ENCLAVE_NAME_RULE =
  "an enclave's name of 1 to 63 small letters, digits and hyphens, none of these at an end";

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

/** Which enclave: whose, and which of theirs. */
export interface EnclaveId {
  /** Opaque id of an account. */
  user: string;
  /** A DNS label. */
  name: string;
}

/** One text for one enclave: user ids are UUIDs and names are DNS labels, and neither has the character between. */
export function enclaveKey({ user, name }: EnclaveId): string {
  return `${user}/${name}`;
}
