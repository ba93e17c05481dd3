import { CodedError } from '../../errors/coded-error';
import type { OidcProviderCode } from '../../errors/client';
import type { IdTokenCode } from '../../errors/verifier';

/** The OpenID provider doesn't do its part. `code` is stable. */
export class OidcProviderError extends CodedError<OidcProviderCode> {
  override readonly name = 'OidcProviderError';
}

/** An ID token that isn't taken. `code` is stable; neither it nor the message holds anything of the token. */
export class IdTokenError extends CodedError<IdTokenCode> {
  override readonly name = 'IdTokenError';
}
