import { status } from '@grpc/grpc-js';
import { sha256 } from '../attestation/crypto';
import { CertificateError } from '../attestation/certificates/errors';
import { verifyClientCertificate } from '../attestation/certificates/client';
import type { ClientCertificate } from '../attestation/certificates/client';
import { RpcError } from '../runtime/rpc/errors';
import { dateOf } from '../runtime/clock';
import type { Clock } from '../runtime/clock';

/** Whom the enclave lets in. */
export interface ClientPolicy {
  /** PEM roots of client certificates, as they are now: they are rotated while enclaves run. */
  readonly clientRoots: string;
  trustDomain: string;
  /** The only user. */
  user: string;
  clock: Clock;
}

export interface Client extends ClientCertificate {
  /** SHA-256 of the key's SubjectPublicKeyInfo. */
  keySha256: Buffer;
}

/**
 * Checks a client certificate's chain and that it is of this enclave's user.
 * @param chain DER, leaf first
 * @throws RpcError UNAUTHENTICATED with the certificate's own code, PERMISSION_DENIED `enclave.other_user`
 */
export function admitClient(chain: readonly Uint8Array[], policy: ClientPolicy): Client {
  const certificate = verify(chain, policy);
  if (certificate.user !== policy.user) {
    throw new RpcError(
      'enclave.other_user',
      status.PERMISSION_DENIED,
      'the client certificate is of another user than the one whom this enclave serves',
    );
  }
  const spki = certificate.publicKey.export({ type: 'spki', format: 'der' });
  return { ...certificate, keySha256: sha256(spki) };
}

function verify(chain: readonly Uint8Array[], { clientRoots, trustDomain, clock }: ClientPolicy): ClientCertificate {
  try {
    return verifyClientCertificate(chain, clientRoots, { trustDomain, now: dateOf(clock) });
  } catch (error) {
    if (error instanceof CertificateError)
      throw new RpcError(error.code, status.UNAUTHENTICATED, error.message, { cause: error });
    throw error;
  }
}
