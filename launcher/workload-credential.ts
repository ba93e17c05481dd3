import { randomUUID } from 'node:crypto';
import { SignJWT } from 'jose';
import type { CryptoKey } from 'jose';
import { TOKEN_ALGORITHM } from '../attestation/tokens/algorithm';
import { WORKLOAD_TOKEN } from '../attestation/tokens/workload';

const LIFETIME_SECONDS = 300;

/**
 * Makes the credential by which the attestor knows an enclave on one machine, where no Kubernetes vouches for it.
 * It opens one stream and lives 5 minutes.
 * @param workload `imageDigest` is sha256:HEX, `enclave` its name among the user's (left out: the default one)
 */
export async function issueWorkloadCredential(
  privateKey: CryptoKey,
  {
    user,
    enclave,
    workloadUid,
    imageDigest,
  }: { user: string; enclave?: string; workloadUid: string; imageDigest: string },
): Promise<string> {
  return new SignJWT({ user, enclave, image_digest: imageDigest })
    .setProtectedHeader({ alg: TOKEN_ALGORITHM, typ: WORKLOAD_TOKEN.typ })
    .setIssuer(WORKLOAD_TOKEN.issuer)
    .setAudience(WORKLOAD_TOKEN.audience)
    .setSubject(workloadUid)
    .setJti(randomUUID())
    .setIssuedAt()
    .setExpirationTime(`${LIFETIME_SECONDS} s`)
    .sign(privateKey);
}
