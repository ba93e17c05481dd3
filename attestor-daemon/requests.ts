import { X509Certificate } from 'node:crypto';
import type { AttestRequest } from '../proto/gen/licensing/v1/attestor';
import { Purpose } from '../proto/gen/licensing/v1/evidence';

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

const DIGEST_BYTES = 32;
/** A P-256 certificate has a few hundred bytes. */
const MAX_CERTIFICATE_BYTES = 4096;

/**
 * Checks the requests of one stream: lengths, and that all name one certificate. The first certificate stands, because a workload makes its TLS key
 * once: a second one would be somebody else's.
 */
export class RequestChecks {
  private certificate: Buffer | undefined;

  /** @throws AttestRefusal attestor.bad_request, attestor.certificate_changed */
  check(request: AttestRequest): void {
    const session = request.purpose === Purpose.PURPOSE_SESSION;
    if (!session && request.purpose !== Purpose.PURPOSE_CERTIFICATE)
      throw bad(`purpose: expected certificate or session, got ${request.purpose}`);
    checkLength('nonce', request.nonce, DIGEST_BYTES);
    checkLength('client_key_sha256', request.clientKeySha256, DIGEST_BYTES);
    checkLength('tls_exporter', request.tlsExporter, session ? DIGEST_BYTES : 0);
    if (this.certificate === undefined) {
      checkCertificate(request.certificate);
      this.certificate = request.certificate;
    } else if (!this.certificate.equals(request.certificate)) {
      throw new AttestRefusal(
        'attestor.certificate_changed',
        "expected the certificate of the stream's first request, got another one",
        false,
      );
    }
  }
}

function checkLength(field: string, value: Buffer, length: number): void {
  if (value.length !== length) throw bad(`${field}: expected ${length} bytes, got ${value.length}`);
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
