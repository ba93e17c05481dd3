import { status } from '@grpc/grpc-js';
import { RpcError } from '../rpc/errors';

export const MIN_PASSWORD_CHARACTERS = 8;
/** Bounds the work of a request; no person's password is longer. */
export const MAX_PASSWORD_BYTES = 1024;

/** True for a password that may be hashed at all: what is larger is nobody's password. */
export function isHashable(password: string): boolean {
  return Buffer.byteLength(password) <= MAX_PASSWORD_BYTES;
}

/**
 * Checks a new password. Its length is all that is asked for (NIST SP 800-63B, 5.1.1.2: no rules of composition).
 * @throws RpcError INVALID_ARGUMENT `signup.password_too_long`, `signup.password_too_short`
 */
export function checkNewPassword(password: string): void {
  if (!isHashable(password)) {
    throw new RpcError('signup.password_too_long', status.INVALID_ARGUMENT, `expected a password of at most ${MAX_PASSWORD_BYTES} bytes`);
  }
  const characters = [...password.normalize('NFKC')].length;
  if (characters < MIN_PASSWORD_CHARACTERS) {
    throw new RpcError(
      'signup.password_too_short',
      status.INVALID_ARGUMENT,
      `expected a password of at least ${MIN_PASSWORD_CHARACTERS} characters, got ${characters}`,
    );
  }
}
