import { Metadata, status } from '@grpc/grpc-js';
import { NONCE_BYTES, verifyProof } from '../attestation/certificates/proof';
import { CallDuplex } from '../runtime/rpc/duplex';
import { RpcError } from '../runtime/rpc/errors';
import { requireLength } from '../runtime/rpc/fields';
import { callerAddress, subscriberOf } from '../runtime/rpc/peer';
import type { TrustedProxies } from '../runtime/rpc/peer';
import { bidiStream, unary } from '../runtime/rpc/handlers';
import { Purpose } from '../proto/gen/licensing/v1/evidence';
import type { EnclaveServiceServer } from '../proto/gen/licensing/v1/enclave';
import type { AttestorLink } from './attestor-link';
import { admitClient } from './clients';
import type { ClientPolicy } from './clients';
import type { TlsEndpoint } from './tls';
import { Tunnels } from './tunnels';
import type { Implementation } from '../runtime/rpc/handlers';

interface EnclaveServiceOptions {
  link: AttestorLink;
  endpoint: TlsEndpoint;
  clients: ClientPolicy;
  /** DER. */
  certificate: Buffer;
  /** Whose word about a caller's address is taken. */
  proxies: TrustedProxies;
  /** Told at every call that shows a client's interest. */
  onActivity(): void;
}

/** What anyone who reaches the enclave may call, before any TLS: nothing here is secret. */
export function enclaveService({
  link,
  endpoint,
  clients,
  certificate,
  proxies,
  onActivity,
}: EnclaveServiceOptions): Implementation<EnclaveServiceServer> {
  const tunnels = new Tunnels(proxies);
  return {
    attest: unary(async ({ nonce, clientCertificates, proof, includeEventLog }, { signal }) => {
      // Handed on as it is: see attestation/evidence/claims.ts.
      requireLength('enclave.nonce', 'a nonce', nonce, NONCE_BYTES);
      const client = admitClient(clientCertificates, clients);
      if (!verifyProof(client.publicKey, nonce, proof)) {
        throw new RpcError(
          'enclave.proof',
          status.UNAUTHENTICATED,
          "expected the client key's signature over the nonce, got another one",
        );
      }
      onActivity();
      const evidence = await link.requestEvidence(
        {
          purpose: Purpose.PURPOSE_CERTIFICATE,
          nonce,
          clientKeySha256: client.keySha256,
          tlsExporter: Buffer.alloc(0),
          includeEventLog,
        },
        signal,
      );
      return { evidence };
    }),
    getCertificate: unary(() => Promise.resolve({ certificate })),
    tunnel: bidiStream(async (call, context) => {
      const leave = tunnels.enter(context.peer);
      try {
        // The route between holds a response back until it has headers.
        call.sendMetadata(new Metadata());
        const duplex = new CallDuplex(call, () => undefined);
        // The TLS above reports what went wrong; here it is only over.
        duplex.on('error', () => undefined);
        const closed = new Promise<void>((resolve) => duplex.once('close', resolve));
        endpoint.accept(duplex, subscriberOf(callerAddress(context, proxies)));
        await closed;
      } finally {
        leave();
      }
    }),
  };
}
