import { channelCredentials } from '../../../runtime/rpc/address';
import type { Address } from '../../../runtime/rpc/address';
import { callUnary } from '../../../runtime/rpc/client';
import { LauncherServiceClient } from '../../../proto/gen/licensing/v1/launcher';
import type { Enclaves } from './enclaves';
import { channelTo } from '../../../runtime/rpc/proxy';

/** One that is starting is waited for. */
const STOP_MS = 90_000;

/** Enclaves as processes of one machine, by LauncherService. */
export function processEnclaves(address: Address): Enclaves {
  const to = channelTo(address);
  const client = new LauncherServiceClient(to.target, channelCredentials(address), {
    ...to.options,
    'grpc.max_reconnect_backoff_ms': 1_000,
  });
  return {
    end: async (user) =>
      void (await callUnary(client, client.stopEnclave, { user, name: '', workloadUid: '' }, { timeout: STOP_MS })),
    remove: async (user) =>
      void (await callUnary(client, client.removeEnclave, { user, name: '' }, { timeout: STOP_MS })),
  };
}
