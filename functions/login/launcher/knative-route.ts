import { channelCredentials, parseAddress, portOf } from '../../../runtime/rpc/address';
import { callUnary } from '../../../runtime/rpc/client';
import { EnclaveServiceClient } from '../../../proto/gen/licensing/v1/enclave';
import { systemClock } from '../../../runtime/clock';
import { channelTo } from '../../../runtime/rpc/proxy';

/** http://HOST:PORT from a route's URL. */
export function endpointOf(text: string | undefined): string {
  if (text === undefined) throw new Error('expected a ready Service with a URL, got none');
  const url = new URL(text);
  return `${url.protocol}//${url.hostname}:${portOf(url)}`;
}

/** One request through the route: the activator holds it until a pod serves. @returns false when the signal ended it */
export async function wake(endpoint: string, signal: AbortSignal): Promise<boolean> {
  const address = parseAddress(endpoint);
  const to = channelTo(address);
  const client = new EnclaveServiceClient(to.target, channelCredentials(address), to.options);
  try {
    while (!signal.aborted) {
      try {
        await callUnary(client, client.getCertificate, {}, { timeout: 60_000, signal });
        return true;
      } catch {
        await systemClock.sleep(300, signal).catch(() => undefined);
      }
    }
    return false;
  } finally {
    client.close();
  }
}
