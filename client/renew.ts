import type { TrustBundle } from '../attestation/trust/bundle';
import { requireSameInstallation } from './identity';
import { renewEvidence, login, LoginError } from './service';
import type { LoginOptions } from './service';
import { certificateExpiresAt } from './session';
import type { Session } from './session';
import { systemClock } from '../runtime/clock';

/** What ends sooner than this is renewed before it is used. */
const MARGIN_SECONDS = 30;

export interface RenewOptions extends Omit<LoginOptions, 'credential' | 'user' | 'enclave'> {
  /** Logs in again whatever is still good: for when the enclave is gone. */
  enclaveGone?: boolean;
}

/**
 * Makes a session good to connect with. Where all of it is, it stays as it is; where its evidence has ended, the enclave is asked for new evidence;
 * where its client certificate has ended, or the enclave is gone, logs in again by the access token or, where that is over, by the refresh token,
 * with a new key, a new nonce and the whole verification. Keep what comes back, and the tokens at once (`onTokens`).
 * @throws AttestationRefused; RpcError, among them login.session_ended, login.refresh_reused (log in anew), login.refresh_raced (ABORTED: another
 * process renewed the session at this moment, and its tokens are the ones to use); LoginError login.session_over
 */
export async function renew(
  trust: TrustBundle,
  session: Session,
  { enclaveGone = false, ...options }: RenewOptions = {},
): Promise<Session> {
  await requireSameInstallation(session, trust);
  const { clock = systemClock } = options;
  const isOver = (expiresAt: number): boolean => expiresAt - MARGIN_SECONDS < clock.now() / 1000;
  if (!enclaveGone && !isOver(certificateExpiresAt(session))) {
    return isOver(Number(session.claims.expiresAt)) ? renewEvidence(trust, session, options) : session;
  }
  const { accessToken, accessTokenExpiresAt, refreshToken, refreshTokenExpiresAt } = session;
  const credential = !isOver(accessTokenExpiresAt)
    ? { accessToken }
    : refreshToken === undefined
      ? undefined
      : { refreshToken };
  if (!credential) throw new LoginError('login.session_over', 'the session has ended');
  const renewed = await login(trust, {
    ...options,
    credential,
    user: session.enclave.user,
    enclave: session.enclaveName,
  });
  // An access token brings no new refresh token: the one at hand stays.
  return { refreshToken, refreshTokenExpiresAt, ...renewed };
}
