import { parseClaims } from '../../attestation/evidence/claims';
import { EvidenceError, PolicyError } from '../../attestation/evidence/errors';
import { verifyEvidence } from '../../attestation/evidence/verify';
import type { VerifyOptions } from '../../attestation/evidence/verify';
import type { Code } from '../../errors/codes';
import type { Evidence } from '../../proto/gen/licensing/v1/evidence';

/** Refusals of evidence that was good once, or will be: what it proved at that time stays provable. */
const BY_TIME: ReadonlySet<Code> = new Set<Code>([
  'ak_certificate.expired',
  'ak_certificate.not_yet_valid',
  'freshness.expired',
  'freshness.not_yet_valid',
]);

/**
 * What to do about archived evidence that is refused for the time at which it was looked at: only where it would hold as of the time that it names.
 * @returns a hint; undefined of any other refusal
 */
export function hintOfTime(
  error: EvidenceError | PolicyError,
  evidence: Evidence,
  { trust, policy, now }: Pick<VerifyOptions, 'trust' | 'policy' | 'now'>,
): string | undefined {
  if (!BY_TIME.has(error.code)) return undefined;
  const issued = issuedAt(evidence);
  if (issued === undefined) return undefined;
  try {
    verifyEvidence(evidence, { trust, expected: { situation: 'archived' }, policy, now: issued });
  } catch (cause) {
    if (cause instanceof EvidenceError) return undefined;
    // Policy is asked last: the evidence holds.
    if (!(cause instanceof PolicyError)) throw cause;
  }
  const at = `to verify as of that time: --at ${issued.toISOString()}`;
  if (issued <= now) return `it was issued at ${issued.toISOString()}; ${at}`;
  return `it was issued at ${issued.toISOString()}, which is later than ${now.toISOString()}: is this machine's clock right? ${at}`;
}

/** By its claims, of which nothing is shown yet. */
function issuedAt({ claims }: Evidence): Date | undefined {
  try {
    return new Date(Number(parseClaims(claims).issuedAt) * 1000);
  } catch (error) {
    if (!(error instanceof EvidenceError)) throw error;
    return undefined;
  }
}
