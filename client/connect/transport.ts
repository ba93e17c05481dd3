import { Metadata } from '@grpc/grpc-js';
import type { ChannelOptions } from '@grpc/grpc-js';
import { BulkEnclaveServiceClient } from '../../runtime/rpc/bulk';
import { CallDuplex } from '../../runtime/rpc/duplex';
import { parseAddress } from '../../runtime/rpc/address';
import { channelTo } from '../../runtime/rpc/proxy';
import type { TrustBundle } from '../../attestation/trust/bundle';
import type { EnclaveLocation } from '../../proto/gen/licensing/v1/login';
import { openEnclave } from '../channel';
import type { Transport } from './credentials';

/** How the enclave's TLS is reached. */
interface Route {
  /** What grpc-js dials: the place itself, or a proxy that opens a tunnel there. */
  target: string;
  options: ChannelOptions;
  transport: Transport;
}

/** TLS on TCP where the enclave has an address of its own; inside EnclaveService.Tunnel where there is only an HTTP route. */
export function routeTo(enclave: EnclaveLocation, trust: TrustBundle): Route {
  if (enclave.tlsAddress !== '')
    return { ...channelTo(parseAddress(`https://${enclave.tlsAddress}`)), transport: (dialled) => dialled };
  return {
    ...channelTo(parseAddress(enclave.endpoint)),
    transport: (dialled) => {
      // Its own connection to the same place carries the tunnel.
      dialled.destroy();
      return openTunnel(enclave.endpoint, trust);
    },
  };
}

function openTunnel(endpoint: string, trust: TrustBundle): CallDuplex {
  const client = openEnclave(BulkEnclaveServiceClient, endpoint, trust);
  const call = client.tunnel(new Metadata());
  const duplex = new CallDuplex(call, () => call.cancel());
  duplex.once('close', () => client.close());
  return duplex;
}
