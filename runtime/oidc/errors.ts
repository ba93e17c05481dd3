type OidcProviderErrorCode =
  /** Can't be reached, answers too late, or says that it can't answer. */
  | 'oidc.provider_unavailable'
  /** What it says is not what an OpenID provider says, or too much. */
  | 'oidc.provider_invalid';

/** The OpenID provider doesn't do its part. `code` is stable. */
export class OidcProviderError extends Error {
  override readonly name = 'OidcProviderError';

  constructor(
    readonly code: OidcProviderErrorCode,
    message: string,
    options?: ErrorOptions,
  ) {
    super(message, options);
  }
}

export type IdTokenErrorCode =
  /** Not a JWT of three parts, or too long. */
  | 'id_token.malformed'
  /** Signed by an algorithm that is not allowed here, or by none. */
  | 'id_token.algorithm'
  /** Names no key of the provider's. */
  | 'id_token.unknown_key'
  | 'id_token.signature'
  /** Another kind of token. */
  | 'id_token.type'
  | 'id_token.issuer'
  /** For another client. */
  | 'id_token.audience'
  | 'id_token.expired'
  /** Issued longer ago than a login takes. */
  | 'id_token.too_old'
  /** Issued in the future, or valid later. */
  | 'id_token.not_yet_valid'
  /** A claim is missing or malformed. */
  | 'id_token.claims';

/** An ID token that isn't taken. `code` is stable; neither it nor the message holds anything of the token. */
export class IdTokenError extends Error {
  override readonly name = 'IdTokenError';

  constructor(
    readonly code: IdTokenErrorCode,
    message: string,
    options?: ErrorOptions,
  ) {
    super(message, options);
  }
}
