import { status } from '@grpc/grpc-js';
import type { EnclaveRegistry } from '../../licensing/enclaves/enclaves';
import { requireEnclaveName } from '../../licensing/enclaves/name';
import { unary } from '../../runtime/rpc/handlers';
import { RpcError } from '../../runtime/rpc/errors';
import { toUnixSeconds } from '../../runtime/rpc/unix-time';
import { callerOf } from '../../licensing/sessions/bearer';
import { EnclaveState } from '../../proto/gen/licensing/v1/enclaves';
import type { EnclaveManagementServiceServer } from '../../proto/gen/licensing/v1/enclaves';
import type { Launcher, Running } from './launcher/launcher';
import type { EnclaveId } from '../../attestation/evidence/enclave-name';
import type { ServiceCode } from '../../errors/service';
import type { Logger } from '../../runtime/log/log';
import type { Implementation } from '../../runtime/rpc/handlers';

interface EnclaveManagementOptions {
  launcher: Launcher;
  enclaves: EnclaveRegistry;
  enclaveLimit(user: string): Promise<number>;
}

function stateOf(running: Running | undefined): EnclaveState {
  if (!running) return EnclaveState.ENCLAVE_STATE_AT_ZERO;
  return running.serves ? EnclaveState.ENCLAVE_STATE_RUNNING : EnclaveState.ENCLAVE_STATE_STARTING;
}

/** What starts enclaves didn't answer, or refused: its own words are for the log. */
function awayAs(log: Logger, code: ServiceCode, message: string): (cause: unknown) => never {
  return (cause) => {
    log.error({ err: cause }, message);
    throw new RpcError(code, status.UNAVAILABLE, `${message}: try again`, { cause });
  };
}

/** EnclaveManagementService: users see and end their own enclaves, and nobody else's. */
export function enclaveManagementService({
  launcher,
  enclaves,
  enclaveLimit,
}: EnclaveManagementOptions): Implementation<EnclaveManagementServiceServer> {
  /** One answer for an enclave of another user's and for none. */
  const known = async (id: EnclaveId): Promise<void> => {
    if ((await enclaves.list(id.user)).some(({ name }) => name === id.name)) return;
    throw new RpcError('enclave.not_found', status.NOT_FOUND, `expected one of your enclaves, got ${id.name}`);
  };
  return {
    listEnclaves: unary(async (_request, context) => {
      const { user } = callerOf(context);
      const [records, limit] = await Promise.all([enclaves.list(user), enclaveLimit(user)]);
      const running = await launcher
        .find(
          user,
          records.map(({ name }) => name),
        )
        .catch(awayAs(context.log, 'enclave.state_unknown', 'nothing tells at this moment which enclaves run'));
      return {
        limit,
        enclaves: records.map(({ name, createdAt, lastUsedAt }) => ({
          name,
          state: stateOf(running.get(name)),
          node: running.get(name)?.node ?? '',
          lastUsedAt: toUnixSeconds(lastUsedAt),
          createdAt: toUnixSeconds(createdAt),
          persistent: launcher.persistent,
        })),
      };
    }),
    suspendEnclave: unary(async ({ name: text }, context) => {
      const { user } = callerOf(context);
      const id = { user, name: requireEnclaveName(text) };
      await known(id);
      const failed = awayAs(context.log, 'enclave.not_stopped', 'the enclave could not be stopped');
      const wasRunning = (await launcher.find(user, [id.name]).catch(failed)).has(id.name);
      await launcher.stop(id).catch(failed);
      context.log.info(id, 'enclave stopped');
      return { wasRunning, filesKept: launcher.persistent };
    }),
    deleteEnclave: unary(async ({ name: text }, context) => {
      const { user } = callerOf(context);
      const id = { user, name: requireEnclaveName(text) };
      const removed = await enclaves.delete(id, (enclave) =>
        launcher
          .remove(enclave)
          .catch(awayAs(context.log, 'enclave.not_deleted', 'the enclave could not be removed as a whole')),
      );
      if (!removed)
        throw new RpcError('enclave.not_found', status.NOT_FOUND, `expected one of your enclaves, got ${id.name}`);
      context.log.info({ user }, 'enclave deleted');
      return {};
    }),
  };
}
