import type { TrustBundle } from '../../attestation/trust/bundle';
import type { Session, SessionLicence } from '../index';
import type { Output } from './output';
import { changeSession, sessionFile } from './session-file';
import { keepIfWritable } from './state';
import { sessionOf } from './token-file';
import { systemClock } from '../../runtime/clock';

/** A licence that ends this soon is spoken of. */
const SOON_SECONDS = 7 * 86_400;

const time = (seconds: number): string => new Date(seconds * 1000).toISOString();

/** What a person has to know about the licence that they work by; undefined while it is far from its end. */
function licenceNotice(licence: SessionLicence | undefined, now = systemClock.now() / 1000): string | undefined {
  if (licence === undefined || licence.until - SOON_SECONDS > now) return undefined;
  const name = `your licence (${licence.plan})`;
  if (now < licence.until) return `${name} ends at ${time(licence.until)}`;
  if (now < licence.graceUntil)
    return `${name} ended at ${time(licence.until)}; logins work until ${time(licence.graceUntil)}`;
  return `${name} ended at ${time(licence.until)}; running enclaves continue, but logins are refused`;
}

/** Says it, even with --quiet: whoever works has to hear of it before they are kept out. */
export function tellLicence(out: Output, { licence }: Pick<Session, 'licence'>): void {
  const notice = licenceNotice(licence);
  if (notice !== undefined) out.warning(`${notice}. To redeem another: sls redeem`);
}

/** Has the saved session speak of another licence from now on, or of none. @param username whose session it has to be; left out: whose it is */
export async function replaceLicence(
  trust: TrustBundle,
  licence: SessionLicence | undefined,
  username?: string,
): Promise<void> {
  const saved = await sessionOf(trust);
  if (saved && (username ?? saved.username) === saved.username)
    await keepIfWritable(() =>
      changeSession(saved, sessionFile(), (there) => ({ ...there, session: { ...there.session, licence } })),
    );
}
