import { status } from '@grpc/grpc-js';
import { EvidenceError, PolicyError } from '../attestation/evidence/errors';
import { fromServiceError, isServiceError, RpcError } from '../runtime/rpc/errors';
import { CodedError } from '../errors/coded-error';
import type { UnreachableCode } from '../errors/client';
import type { VerifierCode } from '../errors/verifier';

/** What was verified: the login's evidence, the TLS connection, or the connection's own evidence (`session`). */
export type Phase = 'login' | 'connection' | 'session';

/**
 * The enclave could not be verified. None of the user's data was sent, and the connection is closed. `step` is the step
 * that refused: one of attestation/evidence/errors, or `evidence`, `trust`, `revocation`, `log`, `certificate`,
 * `connection`, `session`. `code` is `STEP.REASON` and stable; besides those of EvidenceError and PolicyError:
 * - evidence.missing: the answer holds no evidence
 * - trust.key_changed, trust.domain_changed, trust.signature, trust.type, trust.malformed: the service offers a trust bundle
 *   that the pinned trust key did not sign, or for another trust domain
 * - revocation.node, revocation.ak, revocation.ek, revocation.user: what the evidence names is revoked
 * - revocation.missing, revocation.stale, revocation.signature, revocation.malformed: there is no valid,
 *   current revocation list
 * - log.record_wrong: the audit record of the login contradicts the evidence
 * - identity.user, identity.installation: the service answers for another user than the session's, or the trust bundle
 *   belongs to another installation
 * - certificate.mismatch: the enclave's certificate is not the attested one
 * - connection.certificate_mismatch, connection.protocol, connection.resumed: the TLS connection is not
 *   TLS 1.3, full handshake, with the attested certificate
 * - session.exporter: the evidence is bound to another TLS session, so someone may be in the middle
 */
export class AttestationRefused extends CodedError<VerifierCode> {
  override readonly name = 'AttestationRefused';

  constructor(
    readonly phase: Phase,
    readonly step: string,
    code: VerifierCode,
    message: string,
    options?: ErrorOptions,
  ) {
    super(code, message, options);
  }
}

/** Codes that say more about a connection than the evidence's own. */
const SESSION_CODES: Partial<Record<VerifierCode, { step: string; code: VerifierCode }>> = {
  'identity.tls_exporter': { step: 'session', code: 'session.exporter' },
};

/** Runs a verification; what it finds wrong becomes an AttestationRefused. */
export function refusing<T>(phase: Phase, verify: () => T): T {
  try {
    return verify();
  } catch (error) {
    if (!(error instanceof EvidenceError || error instanceof PolicyError)) throw error;
    const { step, code } = (phase === 'session' && SESSION_CODES[error.code]) || error;
    throw new AttestationRefused(phase, step, code, error.message, { cause: error });
  }
}

/** The enclave can't be reached, or not any more: worth another try. */
export function unavailable(code: UnreachableCode, message: string, cause?: unknown): RpcError {
  return new RpcError(code, status.UNAVAILABLE, message, { cause });
}

/** Turns what grpc-js reports into an RpcError. A call that its connection took along says so. */
export function callError(error: unknown, connectionEnded: boolean): Error {
  if (error instanceof RpcError) return error;
  if (!isServiceError(error)) return error instanceof Error ? error : new Error(String(error));
  const known = fromServiceError(error);
  // A code of the enclave's own is an answer, whatever happened to the connection after it.
  if (!known.code.startsWith('rpc.') || (!connectionEnded && known.grpcStatus !== status.UNAVAILABLE)) return known;
  return unavailable('connection.closed', 'the connection to the enclave ended', error);
}
