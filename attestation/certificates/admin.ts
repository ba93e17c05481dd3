import type { PublicKey } from '../crypto';
import { verifyChain } from './chain';
import { CertificateError } from './errors';
import { certificateIdentity, identityOf } from './client-identity';
import { certificateDer, splitCertificates } from './pem';

/** id-kp-clientAuth (RFC 5280, 4.2.1.12). */
export const CLIENT_AUTH = '1.3.6.1.5.5.7.3.2';
/** What an administrator may be called. */
export const ADMIN_NAME = /^[a-z0-9][a-z0-9._-]{0,63}$/;

/**
 * Checks an administrator's certificate: chain to a root, time, purpose, the one name in it.
 * @param certificates DER, leaf first
 * @param rootsPem the admin CA's certificates
 * @throws CertificateError
 */
export function verifyAdminCertificate(
  certificates: readonly Uint8Array[],
  rootsPem: string,
  { trustDomain, now }: { trustDomain: string; now: Date },
): { name: string; publicKey: PublicKey } {
  const { fields, publicKey } = verifyChain({
    certificates,
    roots: splitCertificates(rootsPem),
    now,
    purpose: CLIENT_AUTH,
  });
  const prefix = `spiffe://${trustDomain}/admin/`;
  const uri = identityOf(fields) ?? '';
  const name = uri.startsWith(prefix) ? uri.slice(prefix.length) : '';
  if (!ADMIN_NAME.test(name))
    throw new CertificateError(
      'certificate.name',
      `expected one URI ${prefix}NAME as subject alternative name, got something else`,
    );
  return { name, publicKey };
}

/** The trust domain that an administrator's own certificate (PEM) names; for its holder, who trusts it. @throws TypeError */
export function certificateTrustDomain(pem: string): string {
  const [, trustDomain] = /^spiffe:\/\/([^/]+)\/admin\//.exec(certificateIdentity(certificateDer(pem)) ?? '') ?? [];
  if (trustDomain === undefined) throw new TypeError("expected an administrator's certificate, got another one");
  return trustDomain;
}
