import { decodeProtectedHeader, errors, jwtVerify } from 'jose';
import type { JWTVerifyGetKey } from 'jose';
import { z } from 'zod';
import { sha256 } from '../../attestation/crypto';
import { IdTokenError, OidcProviderError } from '../../runtime/oidc/errors';
import type { IdTokenCode } from '../../errors/verifier';
import { dateOf, systemClock } from '../../runtime/clock';

/** Whatever a token says of itself: asymmetric signatures alone, so that nobody signs by what all can read. */
const ALGORITHMS = [
  'RS256',
  'RS384',
  'RS512',
  'PS256',
  'PS384',
  'PS512',
  'ES256',
  'ES384',
  'ES512',
  'EdDSA',
  'Ed25519',
];
/** The largest that is looked at. Some providers put the groups of their users in. */
const MAX_ID_TOKEN_LENGTH = 16_384;
/** A client shows its token as soon as it has it; a second factor may have to be found and typed in between. */
const ID_TOKEN_SECONDS = 300;
/** The provider's clock is another one. */
const CLOCK_SKEW_SECONDS = 60;

/** Who a provider says that somebody is. Names and addresses that it may tell as well are not looked at. */
export interface Identity {
  issuer: string;
  /** `sub`: within the issuer never given to anyone else (OpenID Connect Core 1.0, 2). */
  subject: string;
}

export interface VerifiedIdToken extends Identity {
  /** Tells this token from others, whatever is done to its text: SHA-256 of what is signed. */
  sha256: Buffer;
  /** After this it is refused in any case. */
  goodUntil: Date;
}

interface IdTokenContext {
  issuer: string;
  clientId: string;
  /** The provider's keys. */
  keys: JWTVerifyGetKey;
  now?: Date;
}

const claimsSchema = z.object({
  // 255 ASCII characters at most (Core 1.0, 2), compared letter by letter.
  sub: z.string().regex(/^[\x20-\x7e]{1,255}$/),
  aud: z.union([z.string(), z.array(z.string()).min(1).max(100)]),
  azp: z.string().optional(),
  iat: z.number(),
  exp: z.number(),
  // What a logout token has and an ID token must not be taken for (Back-Channel Logout 1.0, 2.4).
  events: z.undefined().optional(),
});

/**
 * Checks an ID token (OpenID Connect Core 1.0, 3.1.3.7): form, algorithm, key, signature, issuer, audience, times, claims; and that it was issued just now.
 * A `nonce` is not asked for: a device flow has no place for one (RFC 8628, 3.1). Whoever takes the token sees to it that it is taken once.
 * @throws IdTokenError; what `keys` throws where the provider is away
 */
export async function verifyIdToken(
  token: string,
  { issuer, clientId, keys, now = dateOf(systemClock) }: IdTokenContext,
): Promise<VerifiedIdToken> {
  if (token.length === 0 || token.length > MAX_ID_TOKEN_LENGTH)
    throw new IdTokenError('id_token.malformed', 'expected an ID token');
  try {
    checkHeader(token);
    const { payload } = await jwtVerify(token, keys, {
      algorithms: ALGORITHMS,
      issuer,
      audience: clientId,
      requiredClaims: ['sub', 'iat', 'exp'],
      clockTolerance: CLOCK_SKEW_SECONDS,
      maxTokenAge: ID_TOKEN_SECONDS,
      currentDate: now,
    });
    const claims = claimsSchema.safeParse(payload);
    if (!claims.success) throw new IdTokenError('id_token.claims', 'a claim of the ID token is missing or malformed');
    const { sub: subject, aud, azp, iat, exp } = claims.data;
    // Made for this client, where it is for others as well.
    if (azp === undefined ? Array.isArray(aud) && aud.length > 1 : azp !== clientId)
      throw new IdTokenError('id_token.audience', 'the ID token was made for another client');
    const goodUntil = new Date((Math.min(exp, iat + ID_TOKEN_SECONDS) + CLOCK_SKEW_SECONDS) * 1000);
    return { issuer, subject, sha256: digestOf(token), goodUntil };
  } catch (error) {
    throw asIdTokenError(error);
  }
}

/** Of header and claims as they were signed. A signature has several forms that are right, so it doesn't count. */
function digestOf(token: string): Buffer {
  return sha256(token.slice(0, token.lastIndexOf('.')));
}

/** Before the provider is asked for anything. */
function checkHeader(token: string): void {
  const { alg, typ } = decodeProtectedHeader(token);
  if (alg === undefined || !ALGORITHMS.includes(alg))
    throw new IdTokenError('id_token.algorithm', 'the ID token is signed by an algorithm that is not allowed here');
  // Access tokens (RFC 9068) and logout tokens say what they are.
  if (typ !== undefined && typ.toLowerCase() !== 'jwt')
    throw new IdTokenError('id_token.type', 'expected an ID token, got another kind of token');
}

/** Which rule of ours a refusal of jose's stands for. */
function asIdTokenError(error: unknown): unknown {
  const refuse = (code: IdTokenCode, message: string): IdTokenError =>
    new IdTokenError(code, message, { cause: error });
  if (error instanceof IdTokenError || error instanceof OidcProviderError) return error;
  if (error instanceof errors.JOSEAlgNotAllowed)
    return refuse('id_token.algorithm', 'the ID token is signed by an algorithm that is not allowed here');
  if (error instanceof errors.JWKSNoMatchingKey || error instanceof errors.JWKSMultipleMatchingKeys)
    return refuse('id_token.unknown_key', 'the ID token names no key of the OpenID provider');
  if (error instanceof errors.JWSSignatureVerificationFailed)
    return refuse('id_token.signature', "the ID token's signature is wrong");
  if (error instanceof errors.JWTExpired) {
    if (error.claim === 'iat')
      return refuse(
        'id_token.too_old',
        `expected an ID token of the last ${ID_TOKEN_SECONDS} seconds, got an older one`,
      );
    return refuse('id_token.expired', 'the ID token has expired');
  }
  if (error instanceof errors.JWTClaimValidationFailed) {
    if (error.claim === 'iss') return refuse('id_token.issuer', 'the ID token is of another issuer');
    if (error.claim === 'aud') return refuse('id_token.audience', 'the ID token is for another client');
    if (error.reason === 'check_failed' && (error.claim === 'iat' || error.claim === 'nbf'))
      return refuse('id_token.not_yet_valid', 'the ID token is not valid yet');
    return refuse('id_token.claims', 'a claim of the ID token is missing or malformed');
  }
  if (error instanceof errors.JOSEError || error instanceof TypeError)
    return refuse('id_token.malformed', 'expected an ID token');
  return error;
}
