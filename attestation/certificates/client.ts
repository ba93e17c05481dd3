import 'reflect-metadata';
import { isP256, X509Certificate } from '../crypto';
import type { PublicKey } from '../crypto';
import * as x509 from '@peculiar/x509';
import { certificateIdentity, parseClientIdentity } from './client-identity';

const MAX_CERTIFICATE_BYTES = 8192;
const MAX_CHAIN = 4;

/** id-kp-clientAuth (RFC 5280, 4.2.1.12). */
export const CLIENT_AUTH = x509.ExtendedKeyUsage.clientAuth;

/** A client certificate that can't be taken. `code` is stable. */
export class ClientCertificateError extends Error {
  override readonly name = 'ClientCertificateError';

  constructor(
    readonly code:
      | 'certificate.malformed'
      | 'certificate.chain'
      | 'certificate.time'
      | 'certificate.purpose'
      | 'certificate.identity'
      | 'certificate.key',
    message: string,
    options?: ErrorOptions,
  ) {
    super(message, options);
  }
}

export interface ClientCertificate {
  user: string;
  session: string;
  /** P-256. */
  publicKey: PublicKey;
  notAfter: Date;
}

function parseCertificate(der: Uint8Array): X509Certificate {
  if (der.length > MAX_CERTIFICATE_BYTES) {
    throw new ClientCertificateError(
      'certificate.malformed',
      `expected a certificate of at most ${MAX_CERTIFICATE_BYTES} bytes, got ${der.length}`,
    );
  }
  let parsed: X509Certificate;
  try {
    parsed = new X509Certificate(der);
  } catch (cause) {
    throw new ClientCertificateError('certificate.malformed', 'expected an X.509 certificate in DER', { cause });
  }
  if (!parsed.raw.equals(der))
    throw new ClientCertificateError('certificate.malformed', 'expected nothing after the certificate');
  return parsed;
}

function checkTime(certificate: X509Certificate, now: Date): void {
  if (now < new Date(certificate.validFrom) || now > new Date(certificate.validTo)) {
    throw new ClientCertificateError(
      'certificate.time',
      `expected a certificate that is good at ${now.toISOString()}, got one good from ${certificate.validFrom} to ${certificate.validTo}`,
    );
  }
}

function signedBy(certificate: X509Certificate, issuer: X509Certificate): boolean {
  return issuer.ca && certificate.checkIssued(issuer) && certificate.verify(issuer.publicKey);
}

/** Walks from the leaf through the intermediates to a root; each certificate is used in the order given. */
function checkChain(chain: readonly X509Certificate[], roots: readonly X509Certificate[], now: Date): void {
  for (const [position, certificate] of chain.entries()) {
    checkTime(certificate, now);
    const root = roots.find((candidate) => signedBy(certificate, candidate));
    if (root) return checkTime(root, now);
    const next = chain[position + 1];
    if (!next || !signedBy(certificate, next)) break;
  }
  throw new ClientCertificateError('certificate.chain', 'expected a chain to the client authority, got none');
}

/** Reads every certificate of PEM texts. @throws the parser's error: these are the operator's own files. */
function readRoots(pem: string | readonly string[]): X509Certificate[] {
  const blocks = (typeof pem === 'string' ? [pem] : pem).flatMap(
    (text) => text.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? [],
  );
  return blocks.map((block) => new X509Certificate(block));
}

/**
 * Checks a client certificate: chain to one of the roots, time, purpose, identity, key.
 * @param chainDer leaf first, as LoginResult.client_certificates
 * @param rootsPem the client CA's certificates: PEM texts, each with one or more
 * @throws ClientCertificateError
 */
export function verifyClientCertificate(
  chainDer: readonly Uint8Array[],
  rootsPem: string | readonly string[],
  { trustDomain, now }: { trustDomain: string; now: Date },
): ClientCertificate {
  if (chainDer.length === 0 || chainDer.length > MAX_CHAIN) {
    throw new ClientCertificateError(
      'certificate.malformed',
      `expected 1 to ${MAX_CHAIN} certificates, got ${chainDer.length}`,
    );
  }
  const chain = chainDer.map(parseCertificate);
  const leaf = chain[0]!;
  checkChain(chain, readRoots(rootsPem), now);
  if (leaf.ca) throw new ClientCertificateError('certificate.purpose', 'expected an end-entity certificate, got a CA');
  // Node names the extended key usage `keyUsage`.
  if (leaf.keyUsage?.length !== 1 || leaf.keyUsage[0] !== CLIENT_AUTH) {
    throw new ClientCertificateError('certificate.purpose', 'expected the purpose clientAuth and no other');
  }
  const uri = certificateIdentity(leaf.raw);
  const identity = uri === undefined ? undefined : parseClientIdentity(uri);
  if (identity?.trustDomain !== trustDomain) {
    throw new ClientCertificateError(
      'certificate.identity',
      `expected one URI spiffe://${trustDomain}/user/USER/session/SESSION`,
    );
  }
  if (!isP256(leaf.publicKey)) throw new ClientCertificateError('certificate.key', 'expected a P-256 key');
  return {
    user: identity.user,
    session: identity.session,
    publicKey: leaf.publicKey,
    notAfter: new Date(leaf.validTo),
  };
}
