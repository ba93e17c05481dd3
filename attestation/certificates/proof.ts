import { createPublicKey, randomBytes, sign, verify } from 'node:crypto';
import type { KeyObject } from 'node:crypto';

/** Bytes of a nonce and of a proof: see LoginRequest in login.proto. */
export const NONCE_BYTES = 32;
export const PROOF_BYTES = 64;

/** Keeps the signature from meaning anything in another protocol that uses the same key, such as TLS. */
const CONTEXT = Buffer.from('sls attest v1\0', 'latin1');

function isP256(key: KeyObject): boolean {
  return key.asymmetricKeyType === 'ec' && key.asymmetricKeyDetails?.namedCurve === 'prime256v1';
}

/** A fresh nonce of 32 random bytes. */
export function newNonce(): Buffer {
  return randomBytes(NONCE_BYTES);
}

/**
 * Proves that the client holds its TLS key and wants evidence for this nonce.
 * @param privateKey P-256
 * @param nonce 32 bytes
 * @returns ECDSA P-256 SHA-256 signature over "sls attest v1\0" and the nonce: IEEE P1363, 64 bytes
 * @throws TypeError for another kind of key or a nonce of another size
 */
export function signProof(privateKey: KeyObject, nonce: Uint8Array): Buffer {
  if (!isP256(privateKey)) throw new TypeError('expected a P-256 private key');
  if (nonce.length !== NONCE_BYTES)
    throw new TypeError(`expected a nonce of ${NONCE_BYTES} bytes, got ${nonce.length}`);
  return sign('sha256', Buffer.concat([CONTEXT, nonce]), { key: privateKey, dsaEncoding: 'ieee-p1363' });
}

/**
 * Checks a proof of `signProof`. Never throws on hostile input: anything but a good proof is false.
 * @param publicKey P-256, as a KeyObject or as SubjectPublicKeyInfo in DER
 */
export function verifyProof(publicKey: KeyObject | Uint8Array, nonce: Uint8Array, proof: Uint8Array): boolean {
  if (nonce.length !== NONCE_BYTES || proof.length !== PROOF_BYTES) return false;
  try {
    const key =
      publicKey instanceof Uint8Array
        ? createPublicKey({ key: Buffer.from(publicKey), format: 'der', type: 'spki' })
        : publicKey;
    return isP256(key) && verify('sha256', Buffer.concat([CONTEXT, nonce]), { key, dsaEncoding: 'ieee-p1363' }, proof);
  } catch {
    return false;
  }
}
