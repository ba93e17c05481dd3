import { status } from '@grpc/grpc-js';
import { RpcError } from '../rpc/errors';

const USERNAME = /^[a-z0-9][a-z0-9._-]{0,63}$/;
/** Longer texts are not worth normalizing: no letter shrinks to nothing by it. */
const MAX_INPUT_CHARACTERS = 256;

/**
 * The form under which a username is stored and compared: compatibility forms unified (NFKC), letters small. Two texts of
 * the same form are the same user, so neither can pass for the other.
 * @returns undefined for a text that can be no username
 */
export function normalizeUsername(text: string): string | undefined {
  if (text.length > MAX_INPUT_CHARACTERS) return undefined;
  const normalized = text.normalize('NFKC').toLowerCase();
  return USERNAME.test(normalized) ? normalized : undefined;
}

/** As `normalizeUsername`, for a new account. @throws RpcError INVALID_ARGUMENT `signup.username_invalid` */
export function checkNewUsername(text: string): string {
  const username = normalizeUsername(text);
  if (username === undefined) {
    throw new RpcError(
      'signup.username_invalid',
      status.INVALID_ARGUMENT,
      'expected a username of 1 to 64 letters a-z, digits, dots, hyphens and underscores that starts with a letter or a digit',
    );
  }
  return username;
}
