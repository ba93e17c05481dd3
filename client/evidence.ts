import { sha256Hex } from '../attestation/crypto';
import { DEFAULT_ENCLAVE, enclaveOf } from '../attestation/evidence/enclave-name';
import type { Expected } from '../attestation/evidence/expected';
import type { Policy } from '../attestation/evidence/policy';
import { verifyEvidence } from '../attestation/evidence/verify';
import type { PassedStep, VerifiedEvidence } from '../attestation/evidence/verify';
import type { TrustBundle } from '../attestation/trust/bundle';
import type { Evidence } from '../proto/gen/licensing/v1/evidence';
import { AttestationRefused, refusing } from './errors';
import type { Phase } from './errors';
import { clientKeySha256 } from './key';
import type { Session } from './session';
import { dateOf, systemClock } from '../runtime/clock';
import type { Clock } from '../runtime/clock';

/** A verification step that passed. */
export interface VerifiedStep extends Omit<PassedStep, 'step'> {
  phase: Phase;
  /** Name of the step, such as `signature`. */
  step: string;
}

/** How evidence is verified. */
export interface VerifyingOptions {
  /** Overrides the trust bundle's policy, field by field. Undefined fields override nothing, so they lift no limit. */
  policy?: Partial<Policy>;
  /** Called after each step that passed. */
  onStep?: (step: VerifiedStep) => void;
  /** Default: the system clock. */
  clock?: Clock;
}

/**
 * Verifies evidence against everything that the client knows by itself.
 * @throws AttestationRefused
 */
function verifyFor(
  phase: Phase,
  evidence: Evidence | undefined,
  trust: TrustBundle,
  expected: Expected,
  { policy, onStep, clock = systemClock }: VerifyingOptions,
): VerifiedEvidence {
  if (!evidence)
    throw new AttestationRefused(phase, 'evidence', 'evidence.missing', 'expected evidence, got an answer without any');
  return refusing(phase, () =>
    verifyEvidence(evidence, {
      trust,
      expected,
      policy: overridden(trust.policy, policy),
      now: dateOf(clock),
      onStep: (step) => onStep?.({ phase, ...step }),
    }),
  );
}

function overridden(base: Policy, changes: Partial<Policy> = {}): Policy {
  return { ...base, ...Object.fromEntries(Object.entries(changes).filter(([, value]) => value !== undefined)) };
}

/** The evidence of a login: for this client's nonce and key, about this user's enclave, where the login service says it is. */
export function verifyLogin(
  trust: TrustBundle,
  session: Pick<Session, 'evidence' | 'nonce' | 'clientKey' | 'enclave' | 'enclaveName'>,
  options: VerifyingOptions,
): VerifiedEvidence {
  const { user, workloadUid, node } = session.enclave;
  return verifyFor(
    'login',
    session.evidence,
    trust,
    {
      situation: 'certificate',
      nonce: session.nonce,
      clientKeySha256: clientKeySha256(session.clientKey),
      user,
      enclave: session.enclaveName ?? DEFAULT_ENCLAVE,
      // In a cluster the login service may leave these to the evidence.
      workloadUid: workloadUid || undefined,
      node: node || undefined,
    },
    options,
  );
}

/** The evidence of a connection: about this TLS session, and about the very enclave of the first evidence. */
export function verifySession(
  trust: TrustBundle,
  first: VerifiedEvidence,
  {
    evidence,
    nonce,
    tlsExporter,
    clientKey,
  }: { evidence: Evidence | undefined; nonce: Buffer; tlsExporter: Buffer; clientKey: string },
  options: VerifyingOptions,
): VerifiedEvidence {
  const { user, workloadUid, node, certificateSha256, imageDigest } = first.claims;
  const second = verifyFor(
    'session',
    evidence,
    trust,
    {
      situation: 'session',
      nonce,
      clientKeySha256: clientKeySha256(clientKey),
      tlsExporter,
      certificateSha256,
      user,
      enclave: enclaveOf(first.claims),
      workloadUid,
      node,
      imageDigest,
      previousClock: first.quote.clockInfo,
    },
    options,
  );
  options.onStep?.({
    phase: 'session',
    step: 'session',
    title: 'the enclave itself is the other end of this connection',
    detail: `exporter ${sha256Hex(tlsExporter).slice(0, 16)}…, the same enclave as at login`,
  });
  return second;
}
