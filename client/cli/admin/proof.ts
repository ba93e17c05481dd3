import { createPrivateKey, randomUUID, X509Certificate } from 'node:crypto';
import { SignJWT } from 'jose';
import { splitCertificates } from '../../../attestation/certificates/pem';
import { ADMIN_PROOF_TYPE, requestSha256Of } from '../../../attestation/tokens/admin-proof';
import type { AdminCall } from '../../../attestation/tokens/admin-proof';
import type { CertifiedKey } from '../../../runtime/keys/key-pair';
import { dateOf, systemClock } from '../../../runtime/clock';

/** Signs one call as an administrator. @param administrator certificate (and intermediates) and key, PEM */
export async function signAdminProof(
  administrator: CertifiedKey,
  { method, request }: AdminCall,
  { trustDomain, now = dateOf(systemClock) }: { trustDomain: string; now?: Date },
): Promise<string> {
  const x5c = splitCertificates(administrator.certificate).map((pem) =>
    new X509Certificate(pem).raw.toString('base64'),
  );
  return new SignJWT({ htm: method, request_sha256: requestSha256Of(request) })
    .setProtectedHeader({ alg: 'ES256', typ: ADMIN_PROOF_TYPE, x5c })
    .setAudience(trustDomain)
    .setIssuedAt(Math.floor(now.getTime() / 1000))
    .setJti(randomUUID())
    .sign(createPrivateKey(administrator.privateKey));
}
