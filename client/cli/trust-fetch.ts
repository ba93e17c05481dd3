import { ChannelCredentials } from '@grpc/grpc-js';
import { grpcTarget, parseAddress } from '../../runtime/rpc/address';
import { callUnary } from '../../runtime/rpc/client';
import type { SignedTrust } from '../../attestation/trust/signed-bundle';
import { TrustServiceClient } from '../../proto/gen/licensing/v1/trust';
import { readSignedTrust } from './trust';
import { impatient } from '../patience';
import { channelTo } from '../../runtime/rpc/proxy';

const TIMEOUT_MS = 15_000;

/**
 * Asks a service for its trust bundle, for a first use. Who answers is not known yet, so its TLS certificate proves nothing and is not looked at:
 * the fingerprint that a person compares does the work. Nothing is sent.
 */
export async function fetchTrustBundle(address: string): Promise<SignedTrust> {
  const parsed = parseAddress(address);
  const credentials =
    parsed.scheme === 'https'
      ? ChannelCredentials.createSsl(null, null, null, { rejectUnauthorized: false })
      : ChannelCredentials.createInsecure();
  const { target, options } = channelTo(parsed);
  const client: TrustServiceClient = new TrustServiceClient(target, credentials, {
    ...options,
    interceptors: [impatient({ name: grpcTarget(parsed), of: 'service', channel: () => client.getChannel() })],
  });
  try {
    const { bundle } = await callUnary(client, client.getTrustBundle, {}, { timeout: TIMEOUT_MS });
    return await readSignedTrust(address, bundle);
  } finally {
    client.close();
  }
}
