import { decodeJwt } from 'jose';
import { accountSummary, logOut } from '../index';
import type { Confirmation, SessionTokens, TrustBundle } from '../index';
import { requireSameUser, userOfToken } from '../identity';
import { callOptions } from './call-options';
import { CliError, EXIT } from './exit';
import { logInAtProvider } from './oidc';
import type { Output, OutputOptions } from './output';
import { askPassword } from './prompt';
import { systemClock } from '../../runtime/clock';

/** The service takes a login of the last five minutes for it; what is left of them has to be long enough to type a code. */
const FRESH_SECONDS = 180;

/** With the access token that goes with it: an account without a password gets a session for this alone. */
interface Confirmed extends Confirmation {
  accessToken: string;
  /** Whether codes come from standard input. */
  fromStdin: boolean;
}

interface ConfirmationOptions extends OutputOptions {
  passwordStdin?: boolean;
}

/**
 * Asks the user to confirm that it is them, by the password or at their OpenID provider, and does what that is for.
 * @throws CliError 2 where a password is to be read and the account has none
 */
export async function withConfirmation<T>(
  out: Output,
  trust: TrustBundle,
  { accessToken, refreshToken: own }: Pick<SessionTokens, 'accessToken' | 'refreshToken'>,
  options: ConfirmationOptions,
  work: (confirmed: Confirmed) => Promise<T>,
): Promise<T> {
  const fromStdin = options.passwordStdin === true;
  const { hasPassword, username } = await accountSummary(trust, accessToken, callOptions());
  if (hasPassword) return work({ accessToken, password: await askPassword({ fromStdin }), fromStdin });
  if (fromStdin)
    throw new CliError(EXIT.usage, 'your account has no password', {
      code: 'account.no_password',
      hint: 'omit --password-stdin to log in at your OpenID provider instead',
    });
  const withoutPassword = { password: '', fromStdin: !process.stdin.isTTY };
  if (isFresh(accessToken)) return work({ accessToken, refreshToken: own, ...withoutPassword });
  out.note('log in again to confirm that it is you');
  const { accessToken: fresh, refreshToken } = await logInAtProvider(trust, out, { ...options, username });
  try {
    requireSameUser(userOfToken(accessToken), { accessToken: fresh });
    return await work({ accessToken: fresh, refreshToken, ...withoutPassword });
  } finally {
    // The session was for this alone.
    if (refreshToken !== undefined) await logOut(trust, refreshToken, callOptions()).catch(() => undefined);
  }
}

function isFresh(accessToken: string): boolean {
  const { auth_time: at } = decodeJwt<{ auth_time?: number }>(accessToken);
  return at !== undefined && systemClock.now() / 1000 - at < FRESH_SECONDS;
}
