import { status } from '@grpc/grpc-js';
import { RpcError } from '../../runtime/rpc/errors';
import type { PasswordHasher } from './hasher';
import type { Requester } from './threads';
import { isHashable, MAX_PASSWORD_BYTES } from './prehash';

const MIN_PASSWORD_CHARACTERS = 8;
/**
 * Checks a new password: its length, and how many guesses it takes (NIST SP 800-63B, 5.1.1.2: no rules of composition).
 * @param inputs what is known of the user, such as the username
 * @throws RpcError INVALID_ARGUMENT `signup.password_too_long`, `signup.password_too_short`, `signup.password_weak`; RESOURCE_EXHAUSTED `login.busy`
 */
export async function checkNewPassword(
  judge: Pick<PasswordHasher, 'weakness'>,
  password: string,
  inputs: readonly string[],
  requester?: Requester,
): Promise<void> {
  if (!isHashable(password)) {
    throw new RpcError(
      'signup.password_too_long',
      status.INVALID_ARGUMENT,
      `expected a password of at most ${MAX_PASSWORD_BYTES} bytes`,
    );
  }
  const normalized = password.normalize('NFKC');
  const characters = [...normalized].length;
  if (characters < MIN_PASSWORD_CHARACTERS) {
    throw new RpcError(
      'signup.password_too_short',
      status.INVALID_ARGUMENT,
      `expected a password of at least ${MIN_PASSWORD_CHARACTERS} characters, got ${characters}`,
    );
  }
  const reason = await judge.weakness(normalized, inputs, requester);
  if (reason !== undefined) {
    throw new RpcError('signup.password_weak', status.INVALID_ARGUMENT, `the password is too easy to guess: ${reason}`);
  }
}
