import type { TrustBundle } from '../attestation/trust/bundle';
import { comparingClocks } from './clocks';
import { requireSameInstallation } from './identity';
import { renewEvidence, login, LoginError } from './service';
import type { LoginOptions } from './service';
import { certificateBeginsAt, certificateExpiresAt, isTokenFresh } from './session';
import type { Session } from './session';
import { systemClock } from '../runtime/clock';

/** What ends sooner than this is renewed before it is used. */
const MARGIN_SECONDS = 30;

/** A login may wait so long for its enclave; a certificate lives no longer than the access token that it is given for. */
const LOGIN_SECONDS = 240;

/** As for a login, with the credential, user and enclave taken from the session. */
export interface RenewOptions extends Omit<LoginOptions, 'credential' | 'user' | 'enclave'> {
  /** Logs in again even if the session is still valid, because the enclave is gone. Default: false. */
  enclaveGone?: boolean;
}

/**
 * Makes a session valid to connect with. A session that still is one is returned unchanged. If only its evidence has
 * expired, the enclave is asked for new evidence. If its client certificate has expired, or the enclave is gone, logs in
 * again with the access token or, once that has expired, the refresh token: with a new key, a new nonce and full
 * verification. Save the returned session, and the tokens as soon as `onTokens` reports them.
 * @throws AttestationRefused
 * @throws RpcError login.session_ended, login.refresh_reused: log in again with a password; login.refresh_raced (ABORTED):
 * another process is renewing the session, use its tokens
 * @throws LoginError login.session_over
 */
export async function renew(
  trust: TrustBundle,
  session: Session,
  { enclaveGone = false, ...options }: RenewOptions = {},
): Promise<Session> {
  await requireSameInstallation(session, trust);
  const { clock = systemClock } = options;
  const now = clock.now() / 1000;
  const isOver = (expiresAt: number, margin = MARGIN_SECONDS): boolean => expiresAt - margin < now;
  // What is of later than now was made while a clock was ahead, here or there: nobody takes it.
  const isEarly = (beginsAt: number): boolean => beginsAt - MARGIN_SECONDS > now;
  if (!enclaveGone && !isOver(certificateExpiresAt(session)) && !isEarly(certificateBeginsAt(session))) {
    const { issuedAt, expiresAt } = session.claims;
    return isOver(Number(expiresAt)) || isEarly(Number(issuedAt)) ? renewEvidence(trust, session, options) : session;
  }
  const { accessToken, accessTokenExpiresAt, refreshToken, refreshTokenExpiresAt } = session;
  const margin = refreshToken === undefined ? MARGIN_SECONDS : LOGIN_SECONDS;
  const credential = isTokenFresh(accessTokenExpiresAt, now, margin)
    ? { accessToken }
    : refreshToken === undefined
      ? undefined
      : { refreshToken };
  if (!credential)
    return comparingClocks(trust, options, () =>
      Promise.reject(new LoginError('login.session_over', 'the session has ended')),
    );
  const renewed = await login(trust, {
    ...options,
    credential,
    user: session.enclave.user,
    enclave: session.enclaveName,
  });
  // An access token brings no new refresh token: the one at hand stays.
  return { refreshToken, refreshTokenExpiresAt, ...renewed };
}
