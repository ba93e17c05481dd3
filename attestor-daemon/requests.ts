import { X509Certificate } from 'node:crypto';
import { sha256 } from '../attestation/crypto';
import type { AttestRequest } from '../proto/gen/licensing/v1/attestor';
import { CodedError } from '../errors/coded-error';
import type { AttestorCode } from '../errors/attestor';

/** The answer to a request that gets no evidence. `retryable`: the same request may succeed later. */
export class AttestRefusal extends CodedError<AttestorCode> {
  override readonly name = 'AttestRefusal';

  constructor(
    code: AttestorCode,
    message: string,
    readonly retryable: boolean,
    options?: ErrorOptions,
  ) {
    super(code, message, options);
  }
}

/** A P-256 certificate has a few hundred bytes. */
const MAX_CERTIFICATE_BYTES = 4096;

/**
 * Checks the certificate of each request of a stream for its form; one that was looked at before isn't parsed again. Other fields' lengths are
 * checked where they are put into claims.
 */
export class RequestChecks {
  private certificate: { der: Buffer; sha256: Buffer } | undefined;

  /**
   * @returns SHA-256 of the certificate
   * @throws AttestRefusal attestor.bad_request
   */
  check({ certificate }: AttestRequest): Buffer {
    if (this.certificate?.der.equals(certificate) !== true) {
      checkCertificate(certificate);
      this.certificate = { der: certificate, sha256: sha256(certificate) };
    }
    return this.certificate.sha256;
  }
}

/** A workload makes its TLS key once: a second one would be somebody else's. */
export function certificateChanged(): AttestRefusal {
  return new AttestRefusal(
    'attestor.certificate_changed',
    'expected the certificate that the workload showed first, got another one',
    false,
  );
}

function checkCertificate(der: Buffer): void {
  if (der.length === 0 || der.length > MAX_CERTIFICATE_BYTES)
    throw bad(`certificate: expected 1 to ${MAX_CERTIFICATE_BYTES} bytes, got ${der.length}`);
  try {
    if (new X509Certificate(der).raw.equals(der)) return;
  } catch {
    // Said below.
  }
  throw bad('certificate: expected one certificate in DER, got something else');
}

function bad(message: string): AttestRefusal {
  return new AttestRefusal('attestor.bad_request', message, false);
}
