import { CodedError } from '../../errors/coded-error';
import type { ChainCode } from '../../errors/verifier';

/** A certificate or a chain that can't be taken. `code` is stable. */
export class CertificateError extends CodedError<ChainCode> {
  override readonly name = 'CertificateError';
}
