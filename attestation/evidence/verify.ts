import type { Claims, Evidence, PcrValue } from '../../proto/gen/licensing/v1/evidence';
import { readMeasuredBoot } from '../boot/measured';
import type { MeasuredBoot } from '../boot/measured';
import type { Quote } from '../tpm/quote';
import { checkPolicy } from './policy';
import type { Policy } from './policy';
import type { Expected } from './expected';
import { checkAkAttributes, checkAkCertificate, checkSignature } from './steps/attestation-key';
import type { AttestationKey } from './steps/attestation-key';
import { checkCertificateHash, checkClaimsForm, checkFreshness, checkIdentity } from './steps/claims';
import { bootWarnings } from './steps/boot';
import { clockWarnings } from './steps/clock';
import type { Warning } from './steps/clock';
import { checkPcrDigest, checkQuote, checkRoot } from './steps/quote';
import { stepRunner } from './steps/step';
import type { PassedStep } from './steps/step';

export type { AttestationKey, Expected, PassedStep, Warning };

/** By what evidence is judged: what is believed, what is known, what is wanted, and when. */
export interface VerifyOptions {
  /** Roots are PEM, one certificate each. */
  trust: { attestationRoots: readonly string[]; trustDomain: string };
  expected: Expected;
  policy: Policy;
  now: Date;
  /** Called after each step that held. */
  onStep?: ((step: PassedStep) => void) | undefined;
}

/** What verified evidence has shown. Claims come out of a verification only. */
export interface VerifiedEvidence {
  claims: Claims;
  attestationKey: AttestationKey;
  quote: Quote;
  pcrs: PcrValue[];
  /** The quoted boot, and the events of it which the evidence's log tells in truth. */
  boot: MeasuredBoot;
  warnings: Warning[];
}

/**
 * Verifies evidence in the order of trust: each step believes only what the ones before it have shown.
 * @example What a file of evidence proves, by a trust bundle that was verified before:
 *   const { claims, warnings } = verifyEvidence(readEvidenceJson(text), {
 *     trust: bundle,
 *     expected: { situation: 'archived' },
 *     policy: bundle.policy,
 *     now,
 *   });
 * @throws EvidenceError when the evidence is bad, PolicyError when it is good and not wanted; both name the step
 */
export function verifyEvidence(
  evidence: Evidence,
  { trust, expected, policy, now, onStep }: VerifyOptions,
): VerifiedEvidence {
  const step = stepRunner(onStep);

  const attestationKey = step('ak_certificate', () => checkAkCertificate(evidence, trust, now));
  step('ak_attributes', () => checkAkAttributes(attestationKey.public));
  step('signature', () => checkSignature(evidence, attestationKey.key));

  const quote = step('quote', () => checkQuote(evidence.attest));
  step('pcr_digest', () => checkPcrDigest(quote, evidence.pcrs));
  step('root', () => checkRoot(quote, evidence));

  const claims = step('claims', () => checkClaimsForm(evidence.claims));
  step('freshness', () => checkFreshness(claims, expected, now));
  step('certificate_hash', () => checkCertificateHash(claims, evidence.enclaveCertificate, expected));
  step('identity', () => checkIdentity(claims, attestationKey.certificate.node, expected));

  const { software } = attestationKey.certificate.details;
  const boot = readMeasuredBoot(evidence.pcrs, evidence.eventLog);
  step('policy', () =>
    checkPolicy({ softwareTpm: software, imageDigest: claims.imageDigest, node: claims.node, boot }, policy),
  );

  const previousClock = expected.situation === 'session' ? expected.previousClock : undefined;
  const warnings = clockWarnings(quote.clockInfo, previousClock);
  if (software)
    warnings.push({
      code: 'policy.software_tpm',
      message: 'the TPM is a program: whoever runs the machine can forge what it signs',
    });
  warnings.push(...bootWarnings(boot));
  return { claims, attestationKey, quote, pcrs: evidence.pcrs, boot, warnings };
}
