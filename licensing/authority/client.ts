import 'reflect-metadata';
import { PublicKey } from '@peculiar/x509';
import { CLIENT_AUTH } from '../../attestation/certificates/admin';
import { formatClientIdentity } from '../../attestation/certificates/client-identity';
import type { CertifiedKey } from '../../runtime/keys/key-pair';
import { openAuthority, signEndEntity } from './authority';
import type { Signer } from './authority';
import { readRequestKey } from './request';
import { dateOf, systemClock } from '../../runtime/clock';

/** The longest life of a client certificate. */
export const MAX_CLIENT_CERTIFICATE_SECONDS = 3600;

interface ClientCertificateOptions {
  /** Opaque id of the account. */
  user: string;
  session: string;
  trustDomain: string;
  /** Life in seconds, an hour at most. */
  seconds: number;
  now?: Date;
}

/**
 * Certifies the key of a request for one user and session: SAN URI spiffe://TD/user/USER/session/SESSION, purpose clientAuth.
 * @param authority the client CA, as PEM texts or opened by `openAuthority`
 * @returns DER, leaf first; the root is left out
 * @throws CertificateRequestError for a request that `readRequestKey` refuses
 */
export async function issueClientCertificate(
  authority: CertifiedKey | Signer,
  csrDer: Uint8Array,
  { user, session, trustDomain, seconds, now = dateOf(systemClock) }: ClientCertificateOptions,
): Promise<Buffer[]> {
  const { spki } = readRequestKey(csrDer);
  if (!(seconds > 0 && seconds <= MAX_CLIENT_CERTIFICATE_SECONDS)) {
    throw new TypeError(`expected 1 to ${MAX_CLIENT_CERTIFICATE_SECONDS} seconds of life, got ${seconds}`);
  }
  const signer = 'key' in authority ? authority : await openAuthority(authority);
  const certificate = await signEndEntity(signer, {
    publicKey: new PublicKey(new Uint8Array(spki)),
    name: [],
    alternativeNames: [{ type: 'url', value: formatClientIdentity({ trustDomain, user, session }) }],
    extendedKeyUsage: [CLIENT_AUTH],
    seconds,
    now,
  });
  return [Buffer.from(certificate.rawData)];
}
