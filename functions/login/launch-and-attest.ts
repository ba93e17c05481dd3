import { status } from '@grpc/grpc-js';
import { logger } from '../../runtime/log/logger';
import { isServiceError, RpcError } from '../../runtime/rpc/errors';
import { Claims } from '../../proto/gen/licensing/v1/evidence';
import type { Evidence } from '../../proto/gen/licensing/v1/evidence';
import { LoginStage } from '../../proto/gen/licensing/v1/login';
import { attestEnclave } from './attest';
import type { AttestRequest } from './attest';
import type { Enclave, LaunchOptions, Launcher } from './launcher/launcher';
import type { EnclaveId } from '../../attestation/evidence/enclave-name';
import type { Clock } from '../../runtime/clock';

/** How long an enclave may take to answer: one that has just been started, and one that was said to run. */
export interface Patience {
  startedMs: number;
  runningMs: number;
}

export const PATIENCE: Patience = { startedMs: 30_000, runningMs: 5_000 };

function unavailable(reason: string, cause: unknown): RpcError {
  return new RpcError('login.enclave_unavailable', status.UNAVAILABLE, `your enclave is not available: ${reason}`, {
    cause,
  });
}

/** True of a code of this service's own, and not of one that an enclave borrows: it may say what it likes. */
function isOwn(error: RpcError): boolean {
  return /^(login|licence)\./.test(error.code) && !isServiceError(error.cause);
}

/** The refusal that the user gets for what went wrong with the enclave: a reason that names no part of the inside. */
function refusal(error: unknown): unknown {
  if (!(error instanceof RpcError) || error.code === 'rpc.cancelled') return error;
  if (isOwn(error)) return error;
  // A code of grpc-js's own: nobody answered. Any other one is a sentence that the enclave meant for its caller.
  return unavailable(error.code.startsWith('rpc.') ? "it doesn't answer" : error.message, error);
}

/** True when another try needs another enclave: this one lost its identity, serves someone else now, or isn't there. */
function isLost(error: unknown, enclave: Enclave): boolean {
  if (!(error instanceof RpcError) || (isOwn(error) && error.code.startsWith('licence.'))) return false;
  if (error.grpcStatus === status.FAILED_PRECONDITION || error.grpcStatus === status.PERMISSION_DENIED) return true;
  return !enclave.started && (error.code === 'rpc.unavailable' || error.code === 'rpc.deadline_exceeded');
}

/** Where the enclave is by its own evidence: undefined when that contradicts the launcher. The client checks it all again. */
function locate(enclave: Enclave, evidence: Evidence): Enclave | undefined {
  const { workloadUid, node } = Claims.decode(evidence.claims);
  if (enclave.workloadUid !== '' && enclave.workloadUid !== workloadUid) return undefined;
  if (enclave.node !== '' && enclave.node !== node) return undefined;
  return { ...enclave, workloadUid, node };
}

/**
 * Brings an enclave up and has it attested for the client. An enclave that turns out to be lost, or whose evidence is refused, is
 * discarded and started once more.
 * @param options.judge looks at the evidence before it counts
 * @param options.onLaunched told of each one that was started
 * @returns with what `judge` gave
 * @throws RpcError UNAVAILABLE `login.enclave_unavailable`; the signal's reason when that aborts
 */
export async function launchAndAttest<Verdict>(
  launcher: Launcher,
  id: EnclaveId,
  request: AttestRequest,
  {
    onStage,
    signal,
    plan,
    judge,
    onLaunched,
    patience = PATIENCE,
    clock,
  }: LaunchOptions & {
    judge(evidence: Evidence): Promise<Verdict>;
    onLaunched?(enclave: Enclave): Promise<void>;
    patience?: Patience;
    clock?: Clock;
  },
): Promise<{ enclave: Enclave; evidence: Evidence; verdict: Verdict }> {
  for (const last of [false, true]) {
    let enclave: Enclave | undefined;
    try {
      enclave = await launcher.ensure(id, { onStage, signal, plan });
      if (enclave.started) await onLaunched?.(enclave);
      signal.throwIfAborted();
      onStage(LoginStage.LOGIN_STAGE_QUOTING);
      const patienceMs = enclave.started ? patience.startedMs : patience.runningMs;
      const evidence = await attestEnclave(enclave.innerEndpoint ?? enclave.endpoint, request, {
        signal,
        patienceMs,
        clock,
      });
      const located = locate(enclave, evidence);
      if (located) return { enclave: located, evidence, verdict: await judge(evidence) };
      if (last) throw unavailable('it was replaced while you logged in', undefined);
    } catch (error) {
      if (signal.aborted) throw signal.reason;
      // It started while its user was revoked: whoever ended the user's enclaves may have come too early for it.
      if (enclave && error instanceof RpcError && isOwn(error) && error.code === 'login.revoked')
        await launcher.discard(id, enclave);
      if (last || !enclave || !isLost(error, enclave)) throw refusal(error);
      logger.warn(
        { workloadUid: enclave.workloadUid, code: (error as RpcError).code },
        'enclave lost: starting another one',
      );
      // When it can't be discarded, asking for it again gives the reason in words for the user.
      await launcher.discard(id, enclave).catch((err: unknown) => logger.warn({ err }, 'enclave not discarded'));
    }
  }
  throw unavailable('it was replaced while you logged in', undefined);
}
