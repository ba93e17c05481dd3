import type { ChannelCredentials, Client, ClientOptions } from '@grpc/grpc-js';
import { channelCredentials, grpcTarget, isLoopback, parseAddress } from '../runtime/rpc/address';
import { WIDE_WINDOW_BYTES } from '../runtime/rpc/http2';
import type { Address } from '../runtime/rpc/address';
import type { TrustBundle } from '../attestation/trust/bundle';
import { CodedError } from '../errors/coded-error';
import { channelTo } from '../runtime/rpc/proxy';
import type { Clock } from '../runtime/clock';
import { comparingClocks } from './clocks';
import type { ClockTrust } from './clocks';
import { impatient } from './patience';

/** The call would send a password or token to another machine without TLS. `code` is client.plaintext_refused. */
export class PlaintextRefused extends CodedError<'client.plaintext_refused'> {
  override readonly name = 'PlaintextRefused';
  readonly hint = 'use an https:// address of the service';

  constructor(message: string, options?: ErrorOptions) {
    super('client.plaintext_refused', message, options);
  }
}

/** Dead peers are noticed within half a minute, and nothing is kept between two channels. */
export const CLIENT_OPTIONS: ClientOptions = {
  'grpc.keepalive_time_ms': 20_000,
  'grpc.keepalive_timeout_ms': 10_000,
  'grpc.keepalive_permit_without_calls': 1,
  'grpc.use_local_subchannel_pool': 1,
  'grpc.enable_channelz': 0,
  'grpc.enable_retries': 0,
  'grpc-node.flow_control_window': WIDE_WINDOW_BYTES,
};

interface ClientClass<T> {
  new (address: string, credentials: ChannelCredentials, options?: ClientOptions): T;
}

/**
 * Opens a channel to one of the installation's services: https with the trust bundle's roots, h2c where it stays on this machine.
 * @throws PlaintextRefused
 */
export function openService<T extends Client>(
  Client: ClientClass<T>,
  text: string,
  trust: Pick<TrustBundle, 'serverRoots'>,
  allowPlaintext = false,
  options: ClientOptions = {},
): T {
  const address = parseAddress(text);
  if (address.scheme === 'http' && !allowPlaintext && !isLoopback(address.host)) {
    throw new PlaintextRefused(
      `expected an https address for ${address.host}: passwords and tokens are not sent in plain text`,
    );
  }
  return open('service', Client, address, trust, options);
}

function open<T extends Client>(
  of: 'service' | 'enclave',
  Client: ClientClass<T>,
  address: Address,
  { serverRoots }: Pick<TrustBundle, 'serverRoots'>,
  options: ClientOptions = {},
): T {
  const roots = serverRoots.length === 0 ? undefined : Buffer.from(serverRoots.join('\n'));
  const to = channelTo(address);
  const interceptors = [impatient({ name: grpcTarget(address), of, channel: () => client.getChannel() })];
  const client: T = new Client(to.target, channelCredentials(address, roots), {
    ...CLIENT_OPTIONS,
    ...to.options,
    ...options,
    interceptors,
  });
  return client;
}

/** Calls a service over a channel of its own, which is closed afterwards. @throws PlaintextRefused, and what `work` throws */
export async function withService<T extends Client, R>(
  Client: ClientClass<T>,
  text: string,
  trust: ClockTrust,
  options: { allowPlaintext?: boolean | undefined; clock?: Clock | undefined },
  work: (client: T) => Promise<R>,
): Promise<R> {
  const client = openService(Client, text, trust, options.allowPlaintext);
  try {
    return await comparingClocks(trust, options, () => work(client));
  } finally {
    client.close();
  }
}

/** Opens a channel to EnclaveService. No secret ever goes there, so it needs no TLS of its own. */
export function openEnclave<T extends Client>(Client: ClientClass<T>, endpoint: string, trust: TrustBundle): T {
  return open('enclave', Client, parseAddress(endpoint), trust);
}
