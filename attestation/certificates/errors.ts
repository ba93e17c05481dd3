type CertificateErrorCode =
  | 'certificate.malformed'
  | 'certificate.weak_key'
  | 'certificate.weak_signature'
  | 'certificate.expired'
  | 'certificate.not_yet_valid'
  | 'certificate.untrusted'
  | 'certificate.not_a_ca'
  | 'certificate.is_a_ca'
  | 'certificate.path_length'
  | 'certificate.usage'
  | 'certificate.critical_extension'
  | 'certificate.name'
  | 'certificate.details';

/** A certificate or a chain that can't be taken. `code` is stable. */
export class CertificateError extends Error {
  override readonly name = 'CertificateError';

  constructor(
    readonly code: CertificateErrorCode,
    message: string,
    options?: ErrorOptions,
  ) {
    super(message, options);
  }
}
