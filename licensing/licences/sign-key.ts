import { SignJWT } from 'jose';
import { LICENCE_AUDIENCE, LICENCE_TYPE, licenceIssuer } from '../../attestation/licences/key';
import type { LicenceTerms } from '../../attestation/licences/key';
import { TOKEN_ALGORITHM } from '../../attestation/tokens/algorithm';
import type { TokenKeys } from '../tokens/keys';
import { dateOf, systemClock } from '../../runtime/clock';

const seconds = (date: Date): number => Math.floor(date.getTime() / 1000);

/** Makes the key of a licence: a compact JWS (RFC 7515) with the claims of a JWT. A secret: whoever has it can redeem it. */
export async function signLicenceKey(
  { kid, key }: TokenKeys['signing'],
  { licence, plan, until, graceDays, accounts }: LicenceTerms,
  { trustDomain, now = dateOf(systemClock) }: { trustDomain: string; now?: Date },
): Promise<string> {
  return new SignJWT({ plan, grace_days: graceDays, accounts })
    .setProtectedHeader({ alg: TOKEN_ALGORITHM, typ: LICENCE_TYPE, kid })
    .setIssuer(licenceIssuer(trustDomain))
    .setAudience(LICENCE_AUDIENCE)
    .setJti(licence)
    .setIssuedAt(seconds(now))
    .setExpirationTime(seconds(until))
    .sign(key);
}
