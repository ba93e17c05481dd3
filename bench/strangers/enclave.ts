import { join } from 'node:path';
import { ChannelCredentials, Metadata } from '@grpc/grpc-js';
import { CallDuplex } from '../../runtime/rpc/duplex';
import { EnclaveServiceClient } from '../../proto/gen/licensing/v1/enclave';
import { makeClient, startEnclaveFixture } from '../../test/support/enclave';
import { TRUST_DOMAIN } from '../../test/support/evidence';
import { startProgram } from '../../test/support/program';
import type { RunningProgram } from '../../test/support/program';
import { connectUnchecked, isServed } from '../../test/support/session-client';

/** An enclave as it is shipped, and an honest user's way into it: as far as the end of the TLS handshake, from where the user is known. */
export interface Door {
  enclave: RunningProgram;
  byTls(): Promise<void>;
  /** Where there is only an HTTP route. */
  byTunnel(): Promise<void>;
  stop(): Promise<void>;
}

export async function startDoor(): Promise<Door> {
  // For its attestor and client CA; the enclave itself is a process of its own.
  const fixture = await startEnclaveFixture();
  const enclave = await startProgram('enclave', {
    LOG_LEVEL: 'error',
    LISTEN: 'http://127.0.0.1:0',
    TLS_LISTEN: '127.0.0.1:0',
    ATTESTOR_ADDRESS: fixture.attestor.address,
    ATTESTOR_CREDENTIAL_FILE: fixture.credentialFile,
    CLIENT_CA_FILE: join(fixture.folder, 'client-ca.pem'),
    ENCLAVE_USER: fixture.user,
    TRUST_DOMAIN,
    WORKSPACE_DIR: join(fixture.folder, 'workspace-of-the-program'),
    SEATS: 'off',
  });
  const visitor = await makeClient(fixture);
  const requireServed = async (socket: Parameters<typeof isServed>[0]): Promise<void> => {
    if (!(await isServed(socket))) throw new Error('the enclave closed an honest connection');
  };
  return {
    enclave,
    byTls: () => requireServed(connectUnchecked(visitor, enclave.ports['tls']!)),
    async byTunnel() {
      const client = new EnclaveServiceClient(`127.0.0.1:${enclave.port}`, ChannelCredentials.createInsecure(), {
        'grpc.use_local_subchannel_pool': 1,
      });
      const call = client.tunnel(new Metadata());
      const socket = new CallDuplex(call, () => call.cancel());
      try {
        await requireServed(connectUnchecked(visitor, 0, { socket }));
      } finally {
        socket.destroy();
        client.close();
      }
    },
    async stop() {
      await enclave.stop();
      await fixture.stop();
    },
  };
}
