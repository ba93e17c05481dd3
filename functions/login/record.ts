import { sha256Hex } from '../../attestation/crypto';
import { newRecord } from '../../attestation/transparency/record';
import type { Claims, Evidence } from '../../proto/gen/licensing/v1/evidence';

/**
 * The record of a login: who got into which workload (not the name that they gave it), and the hash of the claims that the node's TPM signed for it. The client compares it.
 * @param claims as verified
 */
export function loginRecord(
  { user, session }: { user: string; session: string },
  { workloadUid, node, imageDigest }: Claims,
  evidence: Evidence,
  at: Date,
): Buffer {
  const claimsSha256 = sha256Hex(evidence.claims);
  const detail = { user, session, workloadUid, node, imageDigest, claimsSha256 };
  return newRecord({ kind: 'login.granted', detail }, at);
}
