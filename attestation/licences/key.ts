import { errors, importJWK, jwtVerify } from 'jose';
import type { CryptoKey, JWK } from 'jose';
import { z } from 'zod';
import { TOKEN_ALGORITHM } from '../tokens/algorithm';
import { criticalMember, criticalProblem } from '../documents/understood';
import { planSchema } from './plan';
import type { Plan } from './plan';
import { CodedError } from '../../errors/coded-error';
import type { LicenceKeyCode } from '../../errors/verifier';

/** Keeps every other JWS of the installation from being taken for a licence key, and a licence key for another (RFC 8725, 3.11). */
export const LICENCE_TYPE = 'sls-licence+jwt';
/** `aud` of a licence key (RFC 7519, 4.1.3). */
export const LICENCE_AUDIENCE = 'sls-licence';
const CLOCK_SKEW_SECONDS = 5;
/** Twice what a plan with all its images takes. */
const MAX_LICENCE_KEY_LENGTH = 8192;

/** A text that is no licence key, or not one to redeem. `code` is stable; neither it nor the message holds anything of the text. */
export class LicenceKeyError extends CodedError<LicenceKeyCode> {
  override readonly name = 'LicenceKeyError';
}

/** What a licence key says. */
export interface LicenceTerms {
  /** Id of the licence: `jti`. */
  licence: string;
  plan: Plan;
  /** `exp`: it can be redeemed until then. Whole seconds. */
  until: Date;
  /** Logins work for so many days more. */
  graceDays: number;
  /** How many accounts may have it at once. */
  accounts: number;
}

/** `iss` of the licence keys of an installation. */
export const licenceIssuer = (trustDomain: string): string => `https://${trustDomain}`;
const seconds = (date: Date): number => Math.floor(date.getTime() / 1000);

const claimsSchema = z.object({
  ...criticalMember,
  jti: z.uuid(),
  iat: z.number().int(),
  exp: z.number().int().max(8_640_000_000_000),
  plan: planSchema,
  grace_days: z.number().int().min(0),
  accounts: z.number().int().min(1),
});

const REFUSALS: Record<string, [LicenceKeyCode, string]> = {
  typ: ['licence.type', `expected a licence key (${LICENCE_TYPE}), got another kind of token`],
  iss: ['licence.issuer', 'the licence key is of another installation'],
  aud: ['licence.audience', 'the licence key is for another audience'],
};

/** Which rule of ours a refusal of jose's stands for. */
function asLicenceKeyError(error: unknown): unknown {
  const refuse = (code: LicenceKeyCode, message: string): LicenceKeyError =>
    new LicenceKeyError(code, message, { cause: error });
  if (error instanceof errors.JOSEAlgNotAllowed)
    return refuse('licence.algorithm', `expected a licence key signed by ${TOKEN_ALGORITHM}, got another algorithm`);
  if (error instanceof errors.JWSSignatureVerificationFailed)
    return refuse('licence.signature', "the licence key's signature is wrong: it was forged or changed");
  if (error instanceof errors.JWTExpired)
    return refuse(
      'licence.expired',
      `the licence expired at ${new Date(Number(error.payload.exp) * 1000).toISOString()}`,
    );
  if (error instanceof errors.JWTClaimValidationFailed) {
    const known = REFUSALS[error.claim];
    if (known) return refuse(...known);
    // Of the claims that are left, jose compares nbf alone with anything.
    if (error.reason === 'check_failed') return refuse('licence.not_yet_valid', 'the licence is not valid yet');
    return refuse('licence.claims', 'a claim of the licence key is missing or malformed');
  }
  if (error instanceof errors.JOSEError)
    return refuse('licence.malformed', 'expected a licence key, got something else');
  return error;
}

/**
 * Checks a licence key: form, algorithm, key, signature, type, issuer, audience, times, claims. Needs nothing but the trust bundle, so it says nothing about
 * whether the licence was revoked meanwhile, or is used up.
 * @param keys the trust bundle's licence keys
 * @throws LicenceKeyError
 */
export async function verifyLicenceKey(
  keys: readonly JWK[],
  text: string,
  { trustDomain, now }: { trustDomain: string; now: Date },
): Promise<LicenceTerms> {
  if (text.length > MAX_LICENCE_KEY_LENGTH)
    throw new LicenceKeyError('licence.malformed', 'expected a licence key, got something else');
  const keyNamed = async ({ kid }: { kid?: string }): Promise<CryptoKey> => {
    const jwk = kid === undefined ? undefined : keys.find((key) => key.kid === kid);
    if (!jwk)
      throw new LicenceKeyError(
        'licence.unknown_key',
        'the licence key is signed by no licence key of the trust bundle',
      );
    return (await importJWK(jwk, TOKEN_ALGORITHM)) as CryptoKey;
  };
  try {
    const { payload } = await jwtVerify(text, keyNamed, {
      algorithms: [TOKEN_ALGORITHM],
      typ: LICENCE_TYPE,
      issuer: licenceIssuer(trustDomain),
      audience: LICENCE_AUDIENCE,
      requiredClaims: ['jti', 'iat', 'exp', 'plan', 'grace_days', 'accounts'],
      clockTolerance: CLOCK_SKEW_SECONDS,
      currentDate: now,
    });
    const claims = claimsSchema.safeParse(payload);
    if (!claims.success)
      throw new LicenceKeyError('licence.claims', 'a claim of the licence key is missing or malformed');
    const problem = criticalProblem(payload, claims.data);
    if (problem !== undefined)
      throw new LicenceKeyError(
        problem.newer ? 'licence.newer_release' : 'licence.claims',
        `the licence key ${problem.message}`,
      );
    const { jti, plan, exp, iat, grace_days: graceDays, accounts } = claims.data;
    // jose looks at `iat` only where a token's age matters.
    if (iat > seconds(now) + CLOCK_SKEW_SECONDS)
      throw new LicenceKeyError('licence.not_yet_valid', 'the licence is not valid yet');
    return { licence: jti, plan, until: new Date(exp * 1000), graceDays, accounts };
  } catch (error) {
    throw asLicenceKeyError(error);
  }
}
