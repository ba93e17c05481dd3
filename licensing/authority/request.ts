import 'reflect-metadata';
import type { KeyObject } from 'node:crypto';
import { Pkcs10CertificateRequest } from '@peculiar/x509';
import { exportSpki, importSpki, isP256 } from '../../attestation/crypto';
import { CodedError } from '../../errors/coded-error';
import type { CertificateRequestCode } from '../../errors/verifier';

/** A request for a P-256 key takes a few hundred bytes; what is larger is not worth parsing. */
const MAX_CSR_BYTES = 4096;

/** A certificate request that can't be taken. `code` is stable. */
export class CertificateRequestError extends CodedError<CertificateRequestCode> {
  override readonly name = 'CertificateRequestError';
}

/**
 * Reads a certificate request (PKCS#10, RFC 2986) and checks that whoever made it holds the key. Only the key is taken:
 * the subject and the extensions that it asks for mean nothing here.
 * @param der at most 4096 bytes
 * @returns the key, P-256
 * @throws CertificateRequestError
 */
export async function readRequestKey(der: Uint8Array): Promise<{ publicKey: KeyObject; spki: Buffer }> {
  if (der.length === 0 || der.length > MAX_CSR_BYTES) {
    throw new CertificateRequestError(
      'certificate.csr_malformed',
      `expected a request of 1 to ${MAX_CSR_BYTES} bytes, got ${der.length}`,
    );
  }
  let request: Pkcs10CertificateRequest;
  let spki: Buffer;
  try {
    request = new Pkcs10CertificateRequest(new Uint8Array(der));
    spki = Buffer.from(request.publicKey.rawData);
  } catch (cause) {
    throw new CertificateRequestError('certificate.csr_malformed', 'expected a PKCS#10 request in DER', { cause });
  }
  let publicKey: KeyObject;
  try {
    publicKey = importSpki(spki);
  } catch (cause) {
    throw new CertificateRequestError('certificate.csr_key', 'expected a P-256 key in the request', { cause });
  }
  if (!isP256(publicKey))
    throw new CertificateRequestError('certificate.csr_key', 'expected a P-256 key in the request');
  const good = await request.verify().catch(() => false);
  if (!good)
    throw new CertificateRequestError('certificate.csr_signature', "the request's signature is not by its key");
  // Not as the request writes it: one key is certified, and known, by one encoding.
  return { publicKey, spki: exportSpki(publicKey) };
}
