import type { TrustBundle } from '../../attestation/trust/bundle';
import { refresh } from '../index';
import type { SessionTokens } from '../index';
import { callOptions } from './call-options';
import { CliError, EXIT } from './exit';
import { retryAfterRaces } from './race';
import { findTokens, isAccessFresh } from './token-file';

/**
 * An access token of whoever is logged in at these services; refreshed where it is over.
 * @param username who it has to be; left out: whoever it is
 * @throws CliError 4 when nobody is, RpcError when the session has ended
 */
export async function ownAccessToken(trust: TrustBundle, username?: string): Promise<string> {
  return (await ownTokens(trust, username)).accessToken;
}

/** As `ownAccessToken`, for what may renew them. */
export function ownTokens(trust: TrustBundle, username?: string): Promise<OwnTokens> {
  return retryAfterRaces(() => freshTokens(trust, username));
}

interface OwnTokens extends SessionTokens {
  /** Saves what takes their place. */
  keep(renewed: SessionTokens): Promise<void>;
}

async function freshTokens(trust: TrustBundle, username: string | undefined): Promise<OwnTokens> {
  const found = await findTokens(trust, username, { anyEnclave: true });
  if (!found) throw new CliError(EXIT.authentication, 'not logged in', { hint: 'run: sls login' });
  const { tokens, keep, user } = found;
  if (isAccessFresh(tokens.accessTokenExpiresAt) || tokens.refreshToken === undefined) return { ...tokens, keep };
  const renewed = await refresh(trust, tokens.refreshToken, { ...callOptions(), user });
  await keep(renewed);
  return { ...renewed, keep };
}
