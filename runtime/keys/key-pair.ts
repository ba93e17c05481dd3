import 'reflect-metadata';
import { randomBytes, webcrypto } from 'node:crypto';
import { cryptoProvider, PemConverter } from '@peculiar/x509';

cryptoProvider.set(webcrypto);

/** Both curve and hash of every key and certificate made here: ECDSA P-256 with SHA-256. */
export const P256 = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' };

/** A certificate and the private key that belongs to it, both PEM (PKCS#8 for the key). The key is a secret. */
export interface CertifiedKey {
  certificate: string;
  privateKey: string;
}

export async function newKeyPair(): Promise<webcrypto.CryptoKeyPair> {
  return webcrypto.subtle.generateKey(P256, true, ['sign', 'verify']);
}

/** @returns PEM, PKCS#8 */
export async function exportPrivateKey(key: webcrypto.CryptoKey): Promise<string> {
  return PemConverter.encode(await webcrypto.subtle.exportKey('pkcs8', key), 'PRIVATE KEY');
}

/** A positive serial number of 127 random bits (RFC 5280, 4.1.2.2), hex. */
export function randomSerial(): string {
  const serial = randomBytes(16);
  serial[0] = (serial[0]! & 0x7f) | 0x40;
  return serial.toString('hex');
}
