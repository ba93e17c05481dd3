import { readAttestationKeyCertificate } from '../attestation/certificates/attestation-key';
import type { AttestationKeyCertificate } from '../attestation/certificates/attestation-key';
import { publicKeyObject } from '../attestation/tpm/public';
import type { TpmPublic } from '../attestation/tpm/public';
import { callUnary } from '../runtime/rpc/client';
import type { EnrolServiceClient } from '../proto/gen/licensing/v1/enrol';
import type { AttestationKey } from './tpm/attestation-key';
import { activateCredential, readEndorsementKey } from './tpm/endorsement-key';
import type { TpmTools } from './tpm/tools';

/** enrol may be a function that starts from zero. */
const CALL_MS = 60_000;

/**
 * Has the attestation key certified: shows the endorsement key, opens with the TPM what only the TPM that holds both keys can open, hands it back.
 * @returns the certificates, DER, leaf first
 * @throws RpcError, TpmCommandError; Error when the answer isn't a certificate of this key and node
 */
export async function enrolAttestationKey(
  tools: TpmTools,
  client: EnrolServiceClient,
  { ak, node, signal }: { ak: AttestationKey; node: string; signal?: AbortSignal },
): Promise<Buffer[]> {
  const ek = await readEndorsementKey(tools);
  const request = { node, ekPublic: ek.public.bytes, ekCertificates: ek.certificates, akPublic: ak.public.bytes };
  const begun = await callUnary(client, client.beginEnrolment, request, { timeout: CALL_MS, signal });
  const secret = await activateCredential(tools, { ek, ak }, begun);
  const { akCertificates } = await callUnary(
    client,
    client.completeEnrolment,
    { challenge: begun.challenge, secret },
    { timeout: CALL_MS, signal },
  );
  readOwnCertificate(akCertificates, ak.public, node);
  return akCertificates;
}

/** Reads the leaf. @throws Error unless it is of this key and this node */
export function readOwnCertificate(
  certificates: readonly Buffer[],
  key: TpmPublic,
  node: string,
): AttestationKeyCertificate {
  const leaf = readAttestationKeyCertificate(certificates[0] ?? Buffer.alloc(0));
  if (!leaf.publicKey.equals(publicKeyObject(key))) {
    throw new Error('expected a certificate of the attestation key, got one of another key');
  }
  if (leaf.node !== node) throw new Error(`expected a certificate of node ${node}, got one of ${leaf.node}`);
  return leaf;
}
