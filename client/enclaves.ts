import type { Metadata } from '@grpc/grpc-js';
import { callUnary } from '../runtime/rpc/client';
import { fromUnixSeconds } from '../runtime/rpc/unix-time';
import type { TrustBundle } from '../attestation/trust/bundle';
import { EnclaveManagementServiceClient, EnclaveState } from '../proto/gen/licensing/v1/enclaves';
import { bearer } from './account';
import type { CallOptions } from './account';
import { withService } from './channel';

/** Ending an enclave takes as long as its commands' last words. */
const TIMEOUT_MS = 100_000;

/** An enclave of the user. `at zero`: no process or pod is running; the next login starts one. */
export interface EnclaveSummary {
  name: string;
  state: 'running' | 'starting' | 'at zero';
  /** Node that it runs on; undefined if it isn't running. */
  node: string | undefined;
  createdAt: Date;
  lastUsedAt: Date;
  /** Whether its files outlive its pod or process. */
  persistent: boolean;
}

const STATES: Partial<Record<EnclaveState, EnclaveSummary['state']>> = {
  [EnclaveState.ENCLAVE_STATE_RUNNING]: 'running',
  [EnclaveState.ENCLAVE_STATE_STARTING]: 'starting',
};

/** Lists the user's enclaves by name. @returns `limit`: how many the user may have @throws RpcError login.token_invalid */
export function listEnclaves(
  trust: TrustBundle,
  accessToken: string,
  options: CallOptions = {},
): Promise<{ enclaves: EnclaveSummary[]; limit: number }> {
  return withService(EnclaveManagementServiceClient, trust.services.login, trust, options, async (client) => {
    const { enclaves, limit } = await callUnary(client, client.listEnclaves, {}, call(accessToken, options));
    return {
      enclaves: enclaves.map(({ name, state, node, createdAt, lastUsedAt, persistent }) => ({
        name,
        state: STATES[state] ?? 'at zero',
        node: node || undefined,
        createdAt: fromUnixSeconds(createdAt),
        lastUsedAt: fromUnixSeconds(lastUsedAt),
        persistent,
      })),
      limit,
    };
  });
}

/**
 * Stops an enclave; the next login starts it again.
 * @returns `wasRunning`, and `filesKept`: whether its files outlive the stop
 * @throws RpcError enclave.not_found
 */
export function stopEnclave(
  trust: TrustBundle,
  accessToken: string,
  name: string,
  options: CallOptions = {},
): Promise<{ wasRunning: boolean; filesKept: boolean }> {
  return withService(EnclaveManagementServiceClient, trust.services.login, trust, options, (client) =>
    callUnary(client, client.suspendEnclave, { name }, call(accessToken, options)),
  );
}

/** Deletes an enclave and all of its files. @throws RpcError enclave.not_found; enclave.not_deleted: retry to continue */
export async function deleteEnclave(
  trust: TrustBundle,
  accessToken: string,
  name: string,
  options: CallOptions = {},
): Promise<void> {
  await withService(EnclaveManagementServiceClient, trust.services.login, trust, options, (client) =>
    callUnary(client, client.deleteEnclave, { name }, call(accessToken, options)),
  );
}

function call(
  accessToken: string,
  { signal }: CallOptions,
): { timeout: number; metadata: Metadata; signal: AbortSignal | undefined } {
  return { timeout: TIMEOUT_MS, metadata: bearer(accessToken), signal };
}
