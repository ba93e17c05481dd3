import { isP256 } from '../crypto';
import type { PublicKey } from '../crypto';
import { verifyChain } from './chain';
import { CertificateError } from './errors';
import { identityOf } from './client-identity';
import { splitCertificates } from './pem';

/** id-kp-jwt, for keys that sign JWTs (RFC 9509, 3). */
export const JWT_SIGNING = '1.3.6.1.5.5.7.3.37';

/** The one name in a seat signer's certificate. */
export const seatSignerName = (trustDomain: string): string => `spiffe://${trustDomain}/seats`;

/**
 * Checks a seat signer's certificate: chain to a root, time, purpose, the one name in it.
 * @param certificates DER, leaf first
 * @param rootsPem the client CA's certificates
 * @returns its key, P-256
 * @throws CertificateError
 */
export function verifySeatSigner(
  certificates: readonly Uint8Array[],
  rootsPem: string,
  { trustDomain, now }: { trustDomain: string; now: Date },
): PublicKey {
  const { fields, publicKey } = verifyChain({
    certificates,
    roots: splitCertificates(rootsPem),
    now,
    purpose: JWT_SIGNING,
  });
  if (identityOf(fields) !== seatSignerName(trustDomain)) {
    throw new CertificateError(
      'certificate.name',
      `expected ${seatSignerName(trustDomain)} as the one subject alternative name, got something else`,
    );
  }
  if (!isP256(publicKey)) throw new CertificateError('certificate.weak_key', 'expected a P-256 key');
  return publicKey;
}
