import { status } from '@grpc/grpc-js';
import { EvidenceError, PolicyError } from '../attestation/evidence/errors';
import { fromServiceError, isServiceError, RpcError } from '../runtime/rpc/errors';
import { CodedError } from '../errors/coded-error';
import type { UnreachableCode } from '../errors/client';
import type { VerifierCode } from '../errors/verifier';

/** What was being verified: the evidence of the login, the connection, or the connection's own evidence. */
export type Phase = 'login' | 'connection' | 'session';

/**
 * Something about the enclave could not be proved. Nothing of the user's was sent, and the connection is closed. `step` is the step that refused:
 * one of attestation/evidence, or `evidence`, `trust`, `revocation`, `log`, `certificate`, `connection`, `session`. `code` is `STEP.REASON` and stable; beside those of EvidenceError
 * and PolicyError:
 * - evidence.missing: an answer without evidence
 * - trust.key_changed, trust.domain_changed, trust.signature, trust.type, trust.malformed: the service offers a trust bundle by someone else
 * - revocation.node, revocation.ak, revocation.ek, revocation.user: what the evidence is about is trusted no longer
 * - revocation.missing, revocation.stale, revocation.signature, revocation.malformed: nothing shows that it still is
 * - log.record_wrong: what the service wrote down about the login in its audit log is not what the evidence says
 * - identity.user, identity.installation: of a session that goes on, the service answers as another user, or the trust bundle is another installation's
 * - certificate.mismatch: the enclave hands out another certificate than the one that was attested
 * - connection.certificate_mismatch, connection.protocol, connection.resumed: what TLS presents is not what was verified
 * - session.exporter: the evidence is about another TLS session: somebody stands between
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
