import { SignJWT } from 'jose';
import { seatSignerName } from '../../attestation/certificates/seat-signer';
import { SEAT_TOKEN_TYPE } from '../../attestation/seats/token';
import type { SeatClaims } from '../../attestation/seats/token';
import { TOKEN_ALGORITHM } from '../../attestation/tokens/algorithm';
import type { SeatSigner } from '../authority/seat-signer';

/** Signs a seat token: a JWT that brings its signer's certificate along (x5c: RFC 7515, 4.1.6). */
export function issueSeatToken(
  signer: SeatSigner,
  { seat, user, workloadUid, tlsExporter, expiresAt, grantedUntil }: SeatClaims,
  { trustDomain }: { trustDomain: string },
): Promise<string> {
  return new SignJWT({ workload: workloadUid, tls_exporter: tlsExporter.toString('base64url'), granted: grantedUntil })
    .setProtectedHeader({ alg: TOKEN_ALGORITHM, typ: SEAT_TOKEN_TYPE, x5c: [signer.certificate.toString('base64')] })
    .setIssuer(seatSignerName(trustDomain))
    .setAudience(trustDomain)
    .setSubject(user)
    .setJti(seat)
    .setExpirationTime(expiresAt)
    .sign(signer.key);
}
