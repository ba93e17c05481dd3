import type { TrustBundle } from '../../core/trust/bundle';
import { refresh } from '../index';
import { callOptions } from './call-options';
import { CliError, EXIT } from './exit';
import { outlastingRaces } from './race';
import { findTokens, isFresh } from './token-file';

/**
 * An access token of whoever is logged in at these services; refreshed where it is over.
 * @param username who it has to be; left out: whoever it is
 * @throws CliError 4 when nobody is, RpcError when the session has ended
 */
export function ownAccessToken(trust: TrustBundle, username?: string): Promise<string> {
  return outlastingRaces(() => freshAccessToken(trust, username));
}

async function freshAccessToken(trust: TrustBundle, username: string | undefined): Promise<string> {
  const found = await findTokens(trust, username, { anyEnclave: true });
  if (!found) throw new CliError(EXIT.authentication, 'not logged in', { hint: 'run: sls login' });
  const { tokens, keep } = found;
  if (isFresh(tokens.accessTokenExpiresAt) || tokens.refreshToken === undefined) return tokens.accessToken;
  const renewed = await refresh(trust, tokens.refreshToken, callOptions());
  await keep(renewed);
  return renewed.accessToken;
}
