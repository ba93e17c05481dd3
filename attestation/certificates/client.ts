import { isP256 } from '../crypto';
import type { PublicKey } from '../crypto';
import { CLIENT_AUTH } from './admin';
import { verifyChain } from './chain';
import { identityOf, parseClientIdentity } from './client-identity';
import { CertificateError } from './errors';
import { splitCertificates } from './pem';

/** Whose a client certificate is, and until when. */
export interface ClientCertificate {
  user: string;
  session: string;
  /** P-256. */
  publicKey: PublicKey;
  notAfter: Date;
}

/**
 * Checks a client certificate: its chain as verifyChain does, that its one purpose is clientAuth, its identity, its key.
 * @param chainDer leaf first, as LoginResult.client_certificates
 * @param rootsPem the client CA's certificates: PEM texts, each with one or more
 * @throws CertificateError
 */
export function verifyClientCertificate(
  chainDer: readonly Uint8Array[],
  rootsPem: string | readonly string[],
  { trustDomain, now }: { trustDomain: string; now: Date },
): ClientCertificate {
  const roots = (typeof rootsPem === 'string' ? [rootsPem] : rootsPem).flatMap(splitCertificates);
  const { fields, publicKey } = verifyChain({ certificates: chainDer, roots, now, purpose: CLIENT_AUTH });
  if (fields.extendedKeyUsage.length !== 1)
    throw new CertificateError('certificate.usage', 'expected the purpose clientAuth and no other, got others too');
  const uri = identityOf(fields);
  const identity = uri === undefined ? undefined : parseClientIdentity(uri);
  if (identity?.trustDomain !== trustDomain) {
    throw new CertificateError(
      'certificate.name',
      `expected one URI spiffe://${trustDomain}/user/USER/session/SESSION, got another name`,
    );
  }
  if (!isP256(publicKey)) throw new CertificateError('certificate.weak_key', 'expected a P-256 key, got another one');
  return { user: identity.user, session: identity.session, publicKey, notAfter: fields.notAfter };
}
