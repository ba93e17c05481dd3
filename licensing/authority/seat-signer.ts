import type { webcrypto } from 'node:crypto';
import { JWT_SIGNING, seatSignerName } from '../../attestation/certificates/seat-signer';
import { newKeyPair } from '../../runtime/keys/key-pair';
import { signEndEntity } from './authority';
import type { Signer } from './authority';
import { dateOf, systemClock } from '../../runtime/clock';

/** A key that signs seat tokens, and what shows that it may: a certificate of the client CA's. */
export interface SeatSigner {
  key: webcrypto.CryptoKey;
  /** DER. */
  certificate: Buffer;
}

/** Makes a P-256 key and its certificate: SAN URI spiffe://TD/seats, purpose id-kp-jwt. Neither is good for anything else. */
export async function issueSeatSigner(
  authority: Signer,
  { trustDomain, seconds, now = dateOf(systemClock) }: { trustDomain: string; seconds: number; now?: Date },
): Promise<SeatSigner> {
  const keys = await newKeyPair();
  const certificate = await signEndEntity(authority, {
    publicKey: keys.publicKey,
    name: [],
    alternativeNames: [{ type: 'url', value: seatSignerName(trustDomain) }],
    extendedKeyUsage: [JWT_SIGNING],
    seconds,
    now,
  });
  return { key: keys.privateKey, certificate: Buffer.from(certificate.rawData) };
}
