import type { KeyObject, webcrypto } from 'node:crypto';
import { newKeyPair, signEndEntity } from '../../licensing/authority/authority';
import type { Signer } from '../../licensing/authority/authority';
import { CertificateError, verifyChain } from './chain';
import { splitCertificates } from './pem';

/** id-kp-jwt, for keys that sign JWTs (RFC 9509, 3). */
const JWT_SIGNING = '1.3.6.1.5.5.7.3.37';
const URI_TAG = 6;

const nameOf = (trustDomain: string): string => `spiffe://${trustDomain}/seats`;

/** A key that signs seat tokens, and what shows that it may: a certificate of the client CA's. */
export interface SeatSigner {
  key: webcrypto.CryptoKey;
  /** DER. */
  certificate: Buffer;
}

/** Makes a P-256 key and its certificate: SAN URI spiffe://TD/seats, purpose id-kp-jwt. Neither is good for anything else. */
export async function issueSeatSigner(authority: Signer, { trustDomain, seconds, now = new Date() }: { trustDomain: string; seconds: number; now?: Date }): Promise<SeatSigner> {
  const keys = await newKeyPair();
  const certificate = await signEndEntity(authority, {
    publicKey: keys.publicKey,
    name: [],
    alternativeNames: [{ type: 'url', value: nameOf(trustDomain) }],
    extendedKeyUsage: [JWT_SIGNING],
    seconds,
    now,
  });
  return { key: keys.privateKey, certificate: Buffer.from(certificate.rawData) };
}

/**
 * Checks a seat signer's certificate: chain to a root, time, purpose, the one name in it.
 * @param certificates DER, leaf first
 * @param rootsPem the client CA's certificates
 * @returns its key, P-256
 * @throws CertificateError
 */
export function verifySeatSigner(certificates: readonly Uint8Array[], rootsPem: string, { trustDomain, now = new Date() }: { trustDomain: string; now?: Date }): KeyObject {
  const { fields, publicKey } = verifyChain({ certificates, roots: splitCertificates(rootsPem), now, purpose: JWT_SIGNING });
  const [only, ...others] = fields.subjectAlternativeNames;
  if (only?.tag !== URI_TAG || others.length > 0 || only.value.toString('latin1') !== nameOf(trustDomain)) {
    throw new CertificateError('certificate.name', `expected ${nameOf(trustDomain)} as the one subject alternative name, got something else`);
  }
  if (publicKey.asymmetricKeyDetails?.namedCurve !== 'prime256v1') throw new CertificateError('certificate.weak_key', 'expected a P-256 key');
  return publicKey;
}
