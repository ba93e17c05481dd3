import { status } from '@grpc/grpc-js';
import { recordAudit } from '../../licensing/audit/audit';
import { isAnyRevoked } from '../../licensing/revocation/store';
import { RpcError } from '../../runtime/rpc/errors';
import type { Database } from '../../licensing/store/database';
import type { TpmDetails } from './endorsement-certificate';
import type { Queries } from '../../licensing/store/queries';

/** An attestation key that its TPM has proved to hold. */
interface Enrolment {
  jti: string;
  /** Unix seconds: when the challenge can't be answered any more. */
  exp: number;
  node: string;
  /** SHA-256 of TPMT_PUBLIC, hex. */
  ekSha256: string;
  akSha256: string;
  tpm: TpmDetails;
}

interface Decision {
  action: 'enrol.key_enrolled' | 'enrol.key_replaced' | 'enrol.node_bound' | 'enrol.revoked';
  /** The TPM that the name belongs to. */
  boundTo: string;
}

/**
 * Takes an enrolment down: uses its challenge up, binds the node's name to the TPM if the name is new, and records the decision. A name that belongs to
 * another TPM stays with it.
 * @throws RpcError UNAUTHENTICATED enrol.challenge_used, PERMISSION_DENIED enrol.node_bound, enrol.revoked
 */
export async function recordEnrolment(database: Database, enrolment: Enrolment): Promise<void> {
  const { node, ekSha256, akSha256, tpm } = enrolment;
  const { action } = await database.transaction(async (queries) => {
    await useChallenge(queries, enrolment);
    const decision = await decide(queries, enrolment);
    const { boundTo } = decision;
    await recordAudit(queries, { kind: decision.action, detail: { node, ekSha256, akSha256, boundTo, tpm } });
    return decision;
  });
  // Thrown after the transaction, so that the record of the refusal stays.
  if (action === 'enrol.node_bound') {
    throw new RpcError(
      action,
      status.PERMISSION_DENIED,
      `the name ${node} belongs to another TPM: an administrator must approve the new one`,
    );
  }
  if (action === 'enrol.revoked')
    throw new RpcError(action, status.PERMISSION_DENIED, 'the node or its TPM is revoked');
}

async function useChallenge(queries: Queries, { jti, exp }: Enrolment): Promise<void> {
  await queries.query('DELETE FROM enrolment_challenges WHERE expires_at < now()');
  const inserted = await queries.query(
    'INSERT INTO enrolment_challenges (jti, expires_at) VALUES ($1, $2) ON CONFLICT DO NOTHING RETURNING jti',
    [jti, new Date(exp * 1000)],
  );
  if (inserted.length === 0)
    throw new RpcError(
      'enrol.challenge_used',
      status.UNAUTHENTICATED,
      'expected a challenge that was not answered before',
    );
}

async function decide(queries: Queries, { node, ekSha256, akSha256, tpm }: Enrolment): Promise<Decision> {
  const revoked = await isAnyRevoked(queries, [
    ['node', node],
    ['ek', ekSha256],
    ['ak', akSha256],
  ]);
  if (revoked) return { action: 'enrol.revoked', boundTo: '' };
  await queries.query(
    'INSERT INTO nodes (node, ek_sha256, ak_sha256, details) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING',
    [node, ekSha256, akSha256, JSON.stringify(tpm)],
  );
  const [row] = await queries.query<{ ek_sha256: string; ak_sha256: string }>(
    'SELECT ek_sha256, ak_sha256 FROM nodes WHERE node = $1 FOR UPDATE',
    [node],
  );
  const boundTo = row?.ek_sha256 ?? '';
  if (boundTo !== ekSha256) return { action: 'enrol.node_bound', boundTo };
  await queries.query('UPDATE nodes SET ak_sha256 = $2, details = $3, enrolled_at = now() WHERE node = $1', [
    node,
    akSha256,
    JSON.stringify(tpm),
  ]);
  // The same TPM with another key: it was cleared, or its attestor lost the key's authorization.
  return { action: row?.ak_sha256 === akSha256 ? 'enrol.key_enrolled' : 'enrol.key_replaced', boundTo };
}
