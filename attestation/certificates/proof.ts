import { importSpki, isP256, random, signEcdsa, verifyEcdsa } from '../crypto';
import type { PrivateKey, PublicKey } from '../crypto';

/** Bytes of a nonce and of a proof: see LoginRequest in login.proto. */
export const NONCE_BYTES = 32;
const PROOF_BYTES = 64;

/** Keeps the signature from meaning anything in another protocol that uses the same key, such as TLS. */
const CONTEXT = Buffer.from('sls attest v1\0', 'latin1');

/** A fresh nonce of 32 random bytes. */
export function newNonce(): Buffer {
  return random(NONCE_BYTES);
}

/**
 * Proves that the client holds its TLS key and wants evidence for this nonce.
 * @param privateKey P-256
 * @param nonce 32 bytes
 * @returns ECDSA P-256 SHA-256 signature over "sls attest v1\0" and the nonce: IEEE P1363, 64 bytes
 * @throws TypeError for another kind of key or a nonce of another size
 */
export function signProof(privateKey: PrivateKey, nonce: Uint8Array): Buffer {
  if (nonce.length !== NONCE_BYTES)
    throw new TypeError(`expected a nonce of ${NONCE_BYTES} bytes, got ${nonce.length}`);
  const proof = signEcdsa(privateKey, Buffer.concat([CONTEXT, nonce]));
  if (proof.length !== PROOF_BYTES) throw new TypeError('expected a P-256 private key');
  return proof;
}

/**
 * Checks a proof of `signProof`. Never throws on hostile input: anything but a good proof is false.
 * @param publicKey P-256, or its SubjectPublicKeyInfo in DER
 */
export function verifyProof(publicKey: PublicKey | Uint8Array, nonce: Uint8Array, proof: Uint8Array): boolean {
  if (nonce.length !== NONCE_BYTES || proof.length !== PROOF_BYTES) return false;
  try {
    const key = publicKey instanceof Uint8Array ? importSpki(publicKey) : publicKey;
    return isP256(key) && verifyEcdsa(key, Buffer.concat([CONTEXT, nonce]), proof);
  } catch {
    return false;
  }
}
