import { createHash, randomUUID } from 'node:crypto';
import { status } from '@grpc/grpc-js';
import { verifyClientCertificate } from '../../attestation/certificates/client';
import { verifyProof } from '../../attestation/certificates/proof';
import { RpcError } from '../../runtime/rpc/errors';
import { unary } from '../../runtime/rpc/handlers';
import { startServer } from '../../runtime/rpc/server';
import type { RunningServer } from '../../runtime/rpc/server';
import type { Enclave } from '../../functions/login/launcher/launcher';
import { EnclaveServiceService } from '../../proto/gen/licensing/v1/enclave';
import type { EnclaveServiceServer } from '../../proto/gen/licensing/v1/enclave';
import type { Claims } from '../../proto/gen/licensing/v1/evidence';
import { TRUST_DOMAIN } from './accounts';
import { makeEvidence } from './evidence';
import type { FakeTpm } from './evidence';
import { loginTpm } from './login-trust';
import type { Implementation } from '../../runtime/rpc/handlers';

export interface EnclaveEndpointOptions {
  user: string;
  clientCa: string;
  node?: string;
  /** Instead of 0, any free port. */
  port?: number;
  /** Called before each answer; what it throws is the answer. */
  before?(): Promise<void> | void;
  /** Instead of `loginTpm`. */
  tpm?: FakeTpm;
  /** What the evidence says instead of the endpoint's own. */
  claims?: Partial<Claims>;
}

export interface EnclaveEndpoint {
  location: Enclave;
  /** Calls of Attest so far. */
  calls(): number;
  stop(): Promise<void>;
}

/**
 * The gRPC side of an enclave for tests of login: a real server that checks certificate and proof as an enclave does.
 * Its evidence is by a fake TPM that login's trust bundle believes (`loginTpm`), or by another one.
 */
export async function startEnclaveEndpoint(options: EnclaveEndpointOptions): Promise<EnclaveEndpoint> {
  const { user, clientCa, node = 'node-a' } = options;
  const workloadUid = randomUUID();
  let calls = 0;
  const implementation: Implementation<EnclaveServiceServer> = {
    attest: unary(async ({ nonce, clientCertificates, proof }) => {
      calls += 1;
      await options.before?.();
      const client = verifyClientCertificate(clientCertificates, clientCa, {
        trustDomain: TRUST_DOMAIN,
        now: new Date(),
      });
      if (client.user !== user)
        throw new RpcError('enclave.other_user', status.PERMISSION_DENIED, 'not the user of this enclave');
      if (!verifyProof(client.publicKey, nonce, proof))
        throw new RpcError('enclave.proof', status.UNAUTHENTICATED, 'wrong proof');
      const spki = client.publicKey.export({ format: 'der', type: 'spki' });
      const claims: Partial<Claims> = {
        nonce,
        user,
        workloadUid,
        node,
        clientKeySha256: createHash('sha256').update(spki).digest(),
        ...options.claims,
      };
      return { evidence: makeEvidence(options.tpm ?? (await loginTpm()), { claims }) };
    }),
    getCertificate: unary(() => Promise.resolve({ certificate: Buffer.alloc(0) })),
    tunnel: () => (call) => call.end(),
  };
  const server: RunningServer = await startServer({
    address: { scheme: 'http', host: '127.0.0.1', port: options.port ?? 0 },
    services: [{ definition: EnclaveServiceService, implementation }],
  });
  return {
    location: {
      workloadUid,
      node,
      endpoint: `http://127.0.0.1:${server.port}`,
      tlsAddress: '127.0.0.1:1',
      started: false,
    },
    calls: () => calls,
    stop: () => server.stop(0),
  };
}
