import { exportSpki, importSpki, isP256, verifySignature } from '../../attestation/crypto';
import type { PublicKey } from '../../attestation/crypto';
import { decodeOid, DER, DerReader } from '../../attestation/bytes/der';
import { CodedError } from '../../errors/coded-error';
import type { CertificateRequestCode } from '../../errors/verifier';

/** A request for a P-256 key takes a few hundred bytes; what is larger is not worth reading. */
const MAX_CSR_BYTES = 4096;

/** ecdsa-with-SHA256 (RFC 5758, 3.2). */
const ECDSA_WITH_SHA256 = '1.2.840.10045.4.3.2';

/** A certificate request that can't be taken. `code` is stable. */
export class CertificateRequestError extends CodedError<CertificateRequestCode> {
  override readonly name = 'CertificateRequestError';
}

/**
 * Reads a certificate request (PKCS#10, RFC 2986) and checks that whoever made it holds the key. Only the key is taken: the subject and the attributes mean
 * nothing here, and are not even parsed. Anyone may send one, so the work is bounded by what is looked at: six elements and one signature.
 * @param der at most 4096 bytes
 * @returns the key, P-256
 * @throws CertificateRequestError
 */
export function readRequestKey(der: Uint8Array): { publicKey: PublicKey; spki: Buffer } {
  if (der.length === 0 || der.length > MAX_CSR_BYTES) {
    throw new CertificateRequestError(
      'certificate.csr_malformed',
      `expected a request of 1 to ${MAX_CSR_BYTES} bytes, got ${der.length}`,
    );
  }
  const { info, spki, algorithm, signature } = split(der);
  let publicKey: PublicKey;
  try {
    publicKey = importSpki(spki);
  } catch (cause) {
    throw new CertificateRequestError('certificate.csr_key', 'expected a P-256 key in the request', { cause });
  }
  if (!isP256(publicKey))
    throw new CertificateRequestError('certificate.csr_key', 'expected a P-256 key in the request');
  const isSigned =
    algorithm === ECDSA_WITH_SHA256 && verifySignature(publicKey, { type: 'ec', hash: 'sha256' }, info, signature);
  if (!isSigned)
    throw new CertificateRequestError('certificate.csr_signature', "the request's signature is not by its key");
  // Not as the request writes it: one key is certified, and known, by one encoding.
  return { publicKey, spki: exportSpki(publicKey) };
}

interface Parts {
  /** CertificationRequestInfo, DER: what is signed. */
  info: Buffer;
  /** SubjectPublicKeyInfo, DER. */
  spki: Buffer;
  /** OID of the signature. */
  algorithm: string;
  signature: Buffer;
}

/** CertificationRequest (RFC 2986, 4.2). @throws CertificateRequestError certificate.csr_malformed */
function split(der: Uint8Array): Parts {
  try {
    const outer = new DerReader(der, 'certificate request');
    const request = outer.inside(DER.SEQUENCE);
    outer.end();
    const info = request.whole(DER.SEQUENCE);
    const algorithm = decodeOid(request.inside(DER.SEQUENCE).expect(DER.OID));
    const bits = request.expect(DER.BIT_STRING);
    request.end();

    const fields = new DerReader(info, 'certificate request').inside(DER.SEQUENCE);
    fields.expect(DER.INTEGER);
    fields.expect(DER.SEQUENCE);
    // Of a bit string the first byte says how many bits of the last one don't count.
    return { info, spki: fields.whole(DER.SEQUENCE), algorithm, signature: bits.subarray(1) };
  } catch (cause) {
    throw new CertificateRequestError('certificate.csr_malformed', 'expected a PKCS#10 request in DER', { cause });
  }
}
