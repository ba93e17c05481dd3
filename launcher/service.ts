import { status } from '@grpc/grpc-js';
import { isUuid } from '../attestation/bytes/uuid';
import { DEFAULT_ENCLAVE, ENCLAVE_NAME_RULE, isEnclaveName } from '../attestation/evidence/enclave-name';
import type { EnclaveId } from '../attestation/evidence/enclave-name';
import { RpcError } from '../runtime/rpc/errors';
import { unary } from '../runtime/rpc/handlers';
import { LauncherServiceService } from '../proto/gen/licensing/v1/launcher';
import type { LauncherServiceServer } from '../proto/gen/licensing/v1/launcher';
import type { Enclaves } from './enclaves';
import type { Implementation } from '../runtime/rpc/handlers';

/** LauncherService over the installation's enclaves. */
export function launcherService(
  enclaves: Enclaves,
  node: string,
): { definition: typeof LauncherServiceService; implementation: Implementation<LauncherServiceServer> } {
  const implementation: Implementation<LauncherServiceServer> = {
    ensureEnclave: unary(async ({ user, name }, { log }) => {
      requireUserId(user);
      const id = { user, name: enclaveName(name) };
      try {
        const { workloadUid, endpoint, tlsAddress, started } = await enclaves.ensure(id);
        return { workloadUid, node, endpoint, tlsAddress, started };
      } catch (cause) {
        log.error({ err: cause }, 'an enclave did not start');
        throw new RpcError('launcher.enclave_failed', status.UNAVAILABLE, 'the enclave did not start', { cause });
      }
    }),
    stopEnclave: unary(async ({ user, name, workloadUid }) => {
      await enclaves.stop(idOrAll(user, name), workloadUid);
      return {};
    }),
    findEnclaves: unary(({ user }) => {
      requireUserId(user);
      return Promise.resolve({ node, running: enclaves.running(user) });
    }),
    removeEnclave: unary(async ({ user, name }) => {
      await enclaves.remove(idOrAll(user, name));
      return {};
    }),
  };
  return { definition: LauncherServiceService, implementation };
}

/** No name: all of the user's. */
function idOrAll(user: string, name: string): EnclaveId {
  requireUserId(user);
  return { user, name: name === '' ? '' : enclaveName(name) };
}

/** Names become names of folders; no name is the default one. */
function enclaveName(text: string): string {
  if (text === '') return DEFAULT_ENCLAVE;
  if (isEnclaveName(text)) return text;
  throw new RpcError('enclave.name', status.INVALID_ARGUMENT, `expected ${ENCLAVE_NAME_RULE}, got something else`);
}

/** User ids become names of folders: the form in which accounts have them, and nothing else. */
function requireUserId(user: string): void {
  if (isUuid(user)) return;
  throw new RpcError(
    'launcher.user_id',
    status.INVALID_ARGUMENT,
    'expected a user id in the form of a UUID in lower case, got something else',
  );
}
