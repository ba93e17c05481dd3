import { X509Certificate } from 'node:crypto';
import type { AttestRequest } from '../proto/gen/licensing/v1/attestor';

/** The answer to a request that gets no evidence. `retryable`: the same request may succeed later. */
export class AttestRefusal extends Error {
  override readonly name = 'AttestRefusal';

  constructor(
    readonly code: string,
    message: string,
    readonly retryable: boolean,
    options?: ErrorOptions,
  ) {
    super(message, options);
  }
}

/** A P-256 certificate has a few hundred bytes. */
const MAX_CERTIFICATE_BYTES = 4096;

/**
 * Checks that all requests of a stream name one certificate. The first one stands, because a workload makes its TLS key once: a second one would be
 * somebody else's. Lengths of the other fields are checked where they are put into claims.
 */
export class RequestChecks {
  private certificate: Buffer | undefined;

  /** @throws AttestRefusal attestor.bad_request, attestor.certificate_changed */
  check({ certificate }: AttestRequest): void {
    if (this.certificate === undefined) {
      checkCertificate(certificate);
      this.certificate = certificate;
    } else if (!this.certificate.equals(certificate)) {
      throw new AttestRefusal(
        'attestor.certificate_changed',
        "expected the certificate of the stream's first request, got another one",
        false,
      );
    }
  }
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
