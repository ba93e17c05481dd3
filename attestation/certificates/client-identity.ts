import { readCertificateFields, URI_TAG } from './fields';
import type { CertificateFields } from './fields';

/** Who holds a client certificate: a SPIFFE ID (spiffe.io, "The SPIFFE Identity and Verifiable Identity Document", 2). */
interface ClientIdentity {
  trustDomain: string;
  /** Opaque id of an account. */
  user: string;
  session: string;
}

/** A subset of what SPIFFE allows in a path segment: no percent signs, no dots alone. */
const SEGMENT = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/;
const TRUST_DOMAIN = /^[a-z0-9][a-z0-9._-]{0,254}$/;
const IDENTITY = /^spiffe:\/\/([^/]+)\/user\/([^/]+)\/session\/([^/]+)$/;

function isValid({ trustDomain, user, session }: ClientIdentity): boolean {
  return TRUST_DOMAIN.test(trustDomain) && SEGMENT.test(user) && SEGMENT.test(session);
}

/** spiffe://TD/user/USER/session/SESSION. @throws TypeError when a part can't stand in it */
export function formatClientIdentity(identity: ClientIdentity): string {
  if (!isValid(identity)) throw new TypeError('expected a trust domain, user and session that fit in a SPIFFE ID');
  return `spiffe://${identity.trustDomain}/user/${identity.user}/session/${identity.session}`;
}

/** Reads what `formatClientIdentity` wrote; undefined for anything else. */
export function parseClientIdentity(uri: string): ClientIdentity | undefined {
  const [, trustDomain, user, session] = IDENTITY.exec(uri) ?? [];
  if (trustDomain === undefined || user === undefined || session === undefined) return undefined;
  const identity = { trustDomain, user, session };
  return isValid(identity) ? identity : undefined;
}

/**
 * The SPIFFE ID of a certificate: its only alternative name, a URI. Undefined where there is none or more than one:
 * two readers must not take two different ones.
 */
export function identityOf({ subjectAlternativeNames }: CertificateFields): string | undefined {
  const [only, ...others] = subjectAlternativeNames;
  return only?.tag === URI_TAG && others.length === 0 ? only.value.toString('latin1') : undefined;
}

/** `identityOf` a certificate that nobody verified, such as one's own. @param der undefined where it can't be read */
export function certificateIdentity(der: Uint8Array): string | undefined {
  try {
    return identityOf(readCertificateFields(der));
  } catch {
    return undefined;
  }
}
