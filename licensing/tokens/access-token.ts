import { randomUUID } from 'node:crypto';
import { errors, jwtVerify, SignJWT } from 'jose';
import type { JWTVerifyOptions } from 'jose';
import { z } from 'zod';
import type { TokenKeys } from './keys';
import { TOKEN_ALGORITHM } from '../../attestation/tokens/algorithm';
import { dateOf, systemClock } from '../../runtime/clock';
import { CodedError } from '../../errors/coded-error';
import type { AccessTokenCode } from '../../errors/verifier';

/** Life of an access token. Short enough to make revocation a matter of waiting; a refresh token gives the next one. */
export const ACCESS_TOKEN_SECONDS = 900;
/** RFC 9068, 2.1: what keeps other JWTs of the same key from being taken for access tokens. */
export const ACCESS_TOKEN_TYPE = 'at+jwt';
const AUDIENCE = 'sls';
const CLOCK_SKEW_SECONDS = 5;
/** A token of ours takes about 500 characters; what is larger is not worth parsing. */
const MAX_TOKEN_LENGTH = 4096;

/** A token that isn't taken. `code` is stable; neither it nor the message holds anything of the token. */
export class TokenError extends CodedError<AccessTokenCode> {
  override readonly name = 'TokenError';
}

export interface AccessToken {
  /** Opaque id of the account: `sub`. */
  user: string;
  session: string;
  /** Unix seconds when the user last gave a password: `auth_time` (OpenID Connect Core, 2). */
  authenticatedAt: number;
  /** Of the session's access tokens. Those of an earlier one than the session's are over, whatever their time. */
  generation: number;
  /** Unix seconds. */
  expiresAt: number;
}

interface TokenContext {
  trustDomain: string;
  now?: Date;
}

const issuerOf = (trustDomain: string): string => `https://${trustDomain}`;
const unixSeconds = (date: Date): number => Math.floor(date.getTime() / 1000);

/** Signs an access token (RFC 9068). @returns the JWT and its end in Unix seconds */
export async function issueAccessToken(
  keys: TokenKeys,
  {
    user,
    session,
    authenticatedAt,
    generation = 0,
  }: Omit<AccessToken, 'expiresAt' | 'generation'> & Partial<Pick<AccessToken, 'generation'>>,
  { trustDomain, now = dateOf(systemClock) }: TokenContext,
): Promise<{ token: string; expiresAt: number }> {
  const issuedAt = unixSeconds(now);
  const expiresAt = issuedAt + ACCESS_TOKEN_SECONDS;
  const token = await new SignJWT({ session, auth_time: authenticatedAt, generation })
    .setProtectedHeader({ alg: TOKEN_ALGORITHM, typ: ACCESS_TOKEN_TYPE, kid: keys.signing.kid })
    .setIssuer(issuerOf(trustDomain))
    .setAudience(AUDIENCE)
    .setSubject(user)
    .setJti(randomUUID())
    .setIssuedAt(issuedAt)
    .setExpirationTime(expiresAt)
    .sign(keys.signing.key);
  return { token, expiresAt };
}

const claimsSchema = z.object({
  sub: z.uuid(),
  session: z.uuid(),
  jti: z.string().min(1),
  iat: z.number().int(),
  exp: z.number().int(),
  auth_time: z.number().int(),
  // The release before has none.
  generation: z.number().int().min(0).default(0),
});

/** Which rule of ours a refusal of jose's stands for. */
function asTokenError(error: unknown): unknown {
  const refuse = (code: AccessTokenCode, message: string): TokenError =>
    new TokenError(code, message, { cause: error });
  if (error instanceof TokenError) return error;
  if (error instanceof errors.JOSEAlgNotAllowed)
    return refuse('token.algorithm', `expected the algorithm ${TOKEN_ALGORITHM}`);
  if (error instanceof errors.JWSSignatureVerificationFailed)
    return refuse('token.signature', "the access token's signature is wrong");
  if (error instanceof errors.JWTExpired) return refuse('token.expired', 'the access token has expired');
  if (error instanceof errors.JWTClaimValidationFailed) {
    switch (error.claim) {
      case 'typ':
        return refuse('token.type', `expected an access token (${ACCESS_TOKEN_TYPE})`);
      case 'iss':
        return refuse('token.issuer', 'the access token is of another issuer');
      case 'aud':
        return refuse('token.audience', 'the access token is for another audience');
      case 'iat':
      case 'nbf':
        return refuse(
          error.reason === 'check_failed' ? 'token.not_yet_valid' : 'token.claims',
          'the access token is not valid yet',
        );
      default:
        return refuse('token.claims', 'a claim of the access token is missing or malformed');
    }
  }
  if (error instanceof errors.JOSEError || error instanceof TypeError)
    return refuse('token.malformed', 'expected an access token');
  return error;
}

/**
 * Checks an access token: form, algorithm, key, signature, type, issuer, audience, times, claims.
 * @throws TokenError
 */
export async function verifyAccessToken(
  keys: Pick<TokenKeys, 'verifying'>,
  token: string,
  { trustDomain, now = dateOf(systemClock) }: TokenContext,
): Promise<AccessToken> {
  if (token.length === 0 || token.length > MAX_TOKEN_LENGTH)
    throw new TokenError('token.malformed', 'expected an access token');
  const options: JWTVerifyOptions = {
    algorithms: [TOKEN_ALGORITHM],
    typ: ACCESS_TOKEN_TYPE,
    issuer: issuerOf(trustDomain),
    audience: AUDIENCE,
    requiredClaims: ['sub', 'session', 'jti', 'iat', 'exp', 'auth_time'],
    clockTolerance: CLOCK_SKEW_SECONDS,
    maxTokenAge: ACCESS_TOKEN_SECONDS,
    currentDate: now,
  };
  try {
    const { payload } = await jwtVerify(
      token,
      ({ kid }) => {
        const key = kid === undefined ? undefined : keys.verifying.get(kid);
        if (!key) throw new TokenError('token.unknown_key', 'the access token names no key of this service');
        return key;
      },
      options,
    );
    const claims = claimsSchema.safeParse(payload);
    if (!claims.success) throw new TokenError('token.claims', 'a claim of the access token is missing or malformed');
    const { sub, session, auth_time: authenticatedAt, generation, exp: expiresAt } = claims.data;
    return { user: sub, session, authenticatedAt, generation, expiresAt };
  } catch (error) {
    throw asTokenError(error);
  }
}
