import type { TrustBundle } from '../../core/trust/bundle';
import { refresh } from '../index';
import { callOptions } from './call-options';
import { CliError, EXIT } from './exit';
import { outlastingRaces } from './race';
import { findTokens, isFresh } from './token-file';

/**
 * An access token of whoever is logged in at these services; refreshed where it is over.
 * @throws CliError 4 when nobody is, RpcError when the session has ended
 */
export function ownAccessToken(trust: TrustBundle): Promise<string> {
  return outlastingRaces(() => freshAccessToken(trust));
}

async function freshAccessToken(trust: TrustBundle): Promise<string> {
  const found = await findTokens(trust, undefined);
  if (!found) throw new CliError(EXIT.authentication, 'not logged in', { hint: 'run: sls login' });
  const { tokens, keep } = found;
  if (isFresh(tokens.accessTokenExpiresAt) || tokens.refreshToken === undefined) return tokens.accessToken;
  const renewed = await refresh(trust, tokens.refreshToken, callOptions());
  await keep(renewed);
  return renewed.accessToken;
}
