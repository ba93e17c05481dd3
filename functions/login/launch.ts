import { status } from '@grpc/grpc-js';
import type { EnclaveId } from '../../attestation/evidence/enclave-name';
import type { Claims } from '../../proto/gen/licensing/v1/evidence';
import { LoginStage } from '../../proto/gen/licensing/v1/login';
import { isServiceError, RpcError } from '../../runtime/rpc/errors';
import { withEnclaveRegistration } from './enclave-registration';
import type { RegistrationOptions } from './enclave-registration';
import type { Enclave, LaunchOptions } from './launcher/launcher';
import { silent } from '../../runtime/log/log';

interface LaunchEnclaveOptions extends LaunchOptions, RegistrationOptions {
  /** Told of each enclave that was started. */
  onLaunched?(enclave: Enclave): Promise<void>;
}

/**
 * Launches an enclave where it does not run, registered as its user's, and has `attest` attest it. An enclave that turns out to be lost, or
 * whose evidence is refused, is discarded and launched once more.
 * @returns what `attest` gave
 * @throws RpcError UNAVAILABLE `login.enclave_unavailable`, what `attest` refuses by a code of login's own, or as withEnclaveRegistration;
 *   the signal's reason when that aborts
 */
export function launchEnclave<T>(
  options: LaunchEnclaveOptions,
  id: EnclaveId,
  attest: (enclave: Enclave) => Promise<T>,
): Promise<T> {
  return withEnclaveRegistration(options, id, () => launchTwiceAtMost(options, id, attest));
}

async function launchTwiceAtMost<T>(
  { launcher, onStage, signal, plan, onLaunched, log = silent }: LaunchEnclaveOptions,
  id: EnclaveId,
  attest: (enclave: Enclave) => Promise<T>,
): Promise<T> {
  for (let last = false; ; last = true) {
    let enclave: Enclave | undefined;
    try {
      enclave = await launcher.ensure(id, { onStage, signal, plan });
      if (enclave.started) await onLaunched?.(enclave);
      signal.throwIfAborted();
      onStage(LoginStage.LOGIN_STAGE_QUOTING);
      return await attest(enclave);
    } catch (error) {
      if (signal.aborted) throw signal.reason;
      if (error instanceof EnclaveReplaced && !last) continue;
      // It started while its user was revoked: whoever ended the user's enclaves may have come too early for it.
      if (enclave && error instanceof RpcError && isOwn(error) && error.code === 'login.revoked')
        await launcher.discard(id, enclave);
      if (last || !enclave || !isLost(error, enclave)) throw refusal(error);
      log.warn(
        { workloadUid: enclave.workloadUid, code: (error as RpcError).code },
        'enclave lost: starting another one',
      );
      // When it can't be discarded, asking for it again gives the reason in words for the user.
      await launcher.discard(id, enclave).catch((err: unknown) => log.warn({ err }, 'enclave not discarded'));
    }
  }
}

/**
 * Where the enclave is by its verified claims. The client checks it all again.
 * @throws RpcError UNAVAILABLE `login.enclave_unavailable` where they contradict the launcher
 */
export function locate(enclave: Enclave, { workloadUid, node }: Claims): Enclave {
  if (enclave.workloadUid !== '' && enclave.workloadUid !== workloadUid) throw new EnclaveReplaced();
  if (enclave.node !== '' && enclave.node !== node) throw new EnclaveReplaced();
  return { ...enclave, workloadUid, node };
}

function unavailable(reason: string, cause?: unknown): ConstructorParameters<typeof RpcError> {
  return ['login.enclave_unavailable', status.UNAVAILABLE, `your enclave is not available: ${reason}`, { cause }];
}

/** Another workload or node answered than the launcher named. Asked again, the launcher may know better; nothing is discarded. */
class EnclaveReplaced extends RpcError {
  constructor() {
    super(...unavailable('it was replaced while you logged in'));
  }
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
  return new RpcError(...unavailable(error.code.startsWith('rpc.') ? "it doesn't answer" : error.message, error));
}

/** True when another try needs another enclave: this one lost its identity, serves someone else now, or isn't there. */
function isLost(error: unknown, enclave: Enclave): boolean {
  if (!(error instanceof RpcError) || (isOwn(error) && error.code.startsWith('licence.'))) return false;
  if (error.grpcStatus === status.FAILED_PRECONDITION || error.grpcStatus === status.PERMISSION_DENIED) return true;
  return !enclave.started && (error.code === 'rpc.unavailable' || error.code === 'rpc.deadline_exceeded');
}
