/** Of every JWS that an installation signs: ECDSA P-256 with SHA-256 (RFC 7518, 3.4). Never taken from a token. */
export const TOKEN_ALGORITHM = 'ES256';
