import { Metadata } from '@grpc/grpc-js';
import { BulkEnclaveServiceClient } from '../../runtime/rpc/bulk';
import { CallDuplex } from '../../runtime/rpc/duplex';
import { grpcTarget, parseAddress } from '../../runtime/rpc/address';
import type { TrustBundle } from '../../attestation/trust/bundle';
import type { EnclaveLocation } from '../../proto/gen/licensing/v1/login';
import { openEnclave } from '../channel';
import type { Transport } from './credentials';

/** How the enclave's TLS is reached. */
interface Route {
  /** HOST:PORT that grpc-js dials. */
  target: string;
  transport: Transport;
}

/** TLS on TCP where the enclave has an address of its own; inside EnclaveService.Tunnel where there is only an HTTP route. */
export function routeTo(enclave: EnclaveLocation, trust: TrustBundle): Route {
  if (enclave.tlsAddress !== '') return { target: enclave.tlsAddress, transport: (dialled) => dialled };
  return {
    target: grpcTarget(parseAddress(enclave.endpoint)),
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
