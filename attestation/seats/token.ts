import { decodeProtectedHeader, errors, jwtVerify } from 'jose';
import { z } from 'zod';
import { TOKEN_ALGORITHM } from '../tokens/algorithm';
import { CertificateError } from '../certificates/errors';
import { criticalMember, criticalProblem } from '../documents/understood';
import { seatSignerName, verifySeatSigner } from '../certificates/seat-signer';
import { CodedError } from '../../errors/coded-error';
import type { SeatTokenCode } from '../../errors/verifier';

/** What keeps seat tokens and every other JWT apart. */
export const SEAT_TOKEN_TYPE = 'sls-seat+jwt';
/** Holds one certificate; more is not worth parsing. */
const MAX_TOKEN_LENGTH = 8 * 1024;
const CLOCK_SKEW_SECONDS = 5;

/** A seat token that isn't taken. `code` is stable; neither it nor the message holds anything of the token. */
export class SeatTokenError extends CodedError<SeatTokenCode> {
  override readonly name = 'SeatTokenError';
}

/** Which session has a seat: user, workload and, of all of its connections, the one with this TLS exporter. */
export interface SeatClaims {
  seat: string;
  /** Opaque id of the account. */
  user: string;
  workloadUid: string;
  /** 32 bytes (RFC 9266). */
  tlsExporter: Buffer;
  /** Unix seconds. */
  expiresAt: number;
  /** Of a token that was signed while the database was away: when the last one ended that it stands behind. Unix seconds. */
  grantedUntil?: number | undefined;
}

const headerSchema = z.object({
  alg: z.literal(TOKEN_ALGORITHM),
  typ: z.literal(SEAT_TOKEN_TYPE),
  x5c: z.array(z.string().regex(/^[A-Za-z0-9+/]+={0,2}$/)).length(1),
});

const claimsSchema = z.object({
  ...criticalMember,
  sub: z.uuid(),
  jti: z.uuid(),
  workload: z.string().min(1).max(128),
  tls_exporter: z.string().regex(/^[A-Za-z0-9_-]{43}$/),
  exp: z.number().int(),
  granted: z.number().int().optional(),
});

interface SeatTokenContext {
  /** PEM, the client CA's certificates. */
  rootsPem: string;
  trustDomain: string;
  now: Date;
  /** Takes a token that ended up to so many seconds ago. */
  late?: number;
}

/**
 * Checks a seat token: its signer's certificate, signature, type, issuer, audience, time, claims. Whether it is of the session that shows it is the
 * caller's to see to.
 * @throws SeatTokenError
 */
export async function verifySeatToken(
  token: string,
  { rootsPem, trustDomain, now, late = CLOCK_SKEW_SECONDS }: SeatTokenContext,
): Promise<SeatClaims> {
  if (token.length === 0 || token.length > MAX_TOKEN_LENGTH) throw invalid('expected a seat token');
  const key = readSigner(token, { rootsPem, trustDomain, now });
  const options = {
    algorithms: [TOKEN_ALGORITHM],
    typ: SEAT_TOKEN_TYPE,
    issuer: seatSignerName(trustDomain),
    audience: trustDomain,
    requiredClaims: ['sub', 'jti', 'exp'],
    clockTolerance: late,
    currentDate: now,
  };
  const { payload } = await jwtVerify(token, key, options).catch((cause: unknown) => {
    if (cause instanceof errors.JWTExpired)
      throw new SeatTokenError('seat.token_expired', 'the seat token has expired', { cause });
    if (cause instanceof errors.JOSEError) throw invalid('the seat token is not one of this service', cause);
    throw cause;
  });
  const claims = claimsSchema.safeParse(payload);
  if (!claims.success) throw invalid('a claim of the seat token is missing or malformed');
  const problem = criticalProblem(payload, claims.data);
  if (problem?.newer) throw new SeatTokenError('seat.token_newer_release', `the seat token ${problem.message}`);
  if (problem !== undefined) throw invalid(`the seat token ${problem.message}`);
  const { sub: user, jti: seat, workload: workloadUid, tls_exporter: exporter, exp: expiresAt, granted } = claims.data;
  const tlsExporter = Buffer.from(exporter, 'base64url');
  return { seat, user, workloadUid, tlsExporter, expiresAt, ...(granted !== undefined && { grantedUntil: granted }) };
}

function readSigner(
  token: string,
  context: { rootsPem: string; trustDomain: string; now: Date },
): ReturnType<typeof verifySeatSigner> {
  let header: unknown;
  try {
    header = decodeProtectedHeader(token);
  } catch (cause) {
    throw invalid('expected a seat token', cause);
  }
  const parsed = headerSchema.safeParse(header);
  if (!parsed.success) throw invalid('expected a seat token');
  try {
    return verifySeatSigner(
      parsed.data.x5c.map((text) => Buffer.from(text, 'base64')),
      context.rootsPem,
      context,
    );
  } catch (cause) {
    if (!(cause instanceof CertificateError)) throw cause;
    throw invalid('the seat token is not signed by this service', cause);
  }
}

function invalid(message: string, cause?: unknown): SeatTokenError {
  return new SeatTokenError('seat.token_invalid', message, { cause });
}
