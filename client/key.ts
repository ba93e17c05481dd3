import 'reflect-metadata';
import { createPrivateKey, createPublicKey, webcrypto } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import { Pkcs10CertificateRequestGenerator } from '@peculiar/x509';
import { sha256 } from '../attestation/crypto';
import { exportPrivateKey, newKeyPair, P256 } from '../runtime/keys/key-pair';

/** The client's TLS key of one login. */
interface ClientKey {
  /** PEM (PKCS#8). */
  pem: string;
  /** PKCS#10 request, DER. Names nothing: the login service decides what the certificate says. */
  csr: Buffer;
}

/** Makes a fresh P-256 key and the request for its certificate. */
export async function makeClientKey(): Promise<ClientKey> {
  const keys = await newKeyPair();
  const request = await Pkcs10CertificateRequestGenerator.create({ keys, signingAlgorithm: P256 }, webcrypto);
  return { pem: await exportPrivateKey(keys.privateKey), csr: Buffer.from(request.rawData) };
}

export function privateKey(pem: string): KeyObject {
  return createPrivateKey(pem);
}

/** SubjectPublicKeyInfo of a private key, DER. */
export function publicKeyDer(pem: string): Buffer {
  return createPublicKey(pem).export({ type: 'spki', format: 'der' });
}

/** What claims call client_key_sha256. */
export function clientKeySha256(pem: string): Buffer {
  return sha256(publicKeyDer(pem));
}
