import { decodeJwt } from 'jose';
import { fingerprint } from '../attestation/trust/public-key';
import type { TrustBundle } from '../attestation/trust/bundle';
import { AttestationRefused } from './errors';

/** Whose an access token is, by its own word; undefined where it doesn't say. Nothing is believed for it: it is only ever compared. */
export function userOfToken(accessToken: string): string | undefined {
  try {
    return decodeJwt(accessToken).sub;
  } catch {
    return undefined;
  }
}

/** The session that an access token is of, likewise. */
export function sessionOfToken(accessToken: string): string | undefined {
  try {
    return decodeJwt<{ session?: string }>(accessToken).session;
  } catch {
    return undefined;
  }
}

/**
 * A session is of one user for its life: tokens of another one are refused, and have to be before they are kept.
 * @param user the user's id, where it is known
 * @throws AttestationRefused identity.user
 */
export function requireSameUser(user: string | undefined, { accessToken }: { accessToken: string }): void {
  const got = userOfToken(accessToken);
  if (user === undefined || got === undefined || got === user) return;
  throw new AttestationRefused(
    'login',
    'identity',
    'identity.user',
    `expected tokens of user ${user}, whose session it is, got those of user ${got}`,
  );
}

/**
 * And of one installation, which its trust key stands for.
 * @param trustKey fingerprint, of the session; undefined for one of an earlier release
 * @throws AttestationRefused identity.installation
 */
export async function requireSameInstallation(
  { trustKey }: { trustKey?: string | undefined },
  trust: TrustBundle,
): Promise<void> {
  const got = await fingerprint(trust.trustKey);
  if (trustKey === undefined || got === trustKey) return;
  throw new AttestationRefused(
    'login',
    'identity',
    'identity.installation',
    `the session is of the installation with trust key ${trustKey}, expected its trust bundle, got one of ${got}`,
  );
}
