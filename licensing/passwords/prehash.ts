import { createHmac } from 'node:crypto';

/** Not a secret: it keeps hashes that leaked elsewhere (plain SHA-256, say) from being tried against ours without the password. */
const CONTEXT = 'sls password v1';

/**
 * What bcrypt gets instead of the password: 44 ASCII characters. bcrypt reads 72 bytes and stops at a NUL; this way every
 * byte of a password counts. The password is normalized first (NFKC, as NIST SP 800-63B, 5.1.1.2 asks), because keyboards
 * differ in how they compose the same letter.
 */
export function prehash(password: string): string {
  return createHmac('sha256', CONTEXT).update(password.normalize('NFKC')).digest('base64');
}

/** Bounds the work of a request; no person's password is longer. */
export const MAX_PASSWORD_BYTES = 1024;

/** True for a password that may be hashed at all: what is larger is nobody's password. */
export function isHashable(password: string): boolean {
  return Buffer.byteLength(password) <= MAX_PASSWORD_BYTES;
}
