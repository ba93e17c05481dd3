import { status } from '@grpc/grpc-js';
import { recordAudit } from '../../licensing/audit/audit';
import { RpcError } from '../../runtime/rpc/errors';
import { toUnixSeconds } from '../../runtime/rpc/unix-time';
import type { Database } from '../../licensing/store/database';
import type { ApproveNodeRequest, Node } from '../../proto/gen/licensing/v1/admin';
import type { Administrator } from './authentication';
import { requireReason, requireSha256 } from './requests';

/** RFC 1123 subdomain, as Kubernetes names nodes. */
const NODE_NAME = /^(?=.{1,253}$)[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*$/;

/** @throws RpcError INVALID_ARGUMENT admin.node_name */
export function requireNodeName(node: string): string {
  if (NODE_NAME.test(node)) return node;
  throw new RpcError(
    'admin.node_name',
    status.INVALID_ARGUMENT,
    'expected a node name as in RFC 1123, got something else',
  );
}

export async function listNodes(database: Database): Promise<Node[]> {
  const rows = await database.query<{
    node: string;
    ek_sha256: string;
    ak_sha256: string;
    details: object;
    bound_at: Date;
    enrolled_at: Date;
    revoked: boolean;
  }>(
    `SELECT node, ek_sha256, ak_sha256, details, bound_at, enrolled_at,
       EXISTS (SELECT 1 FROM revocations r WHERE (r.kind, r.subject) IN (('node', n.node), ('ek', n.ek_sha256), ('ak', n.ak_sha256))) AS revoked
     FROM nodes n ORDER BY node`,
  );
  return rows.map((row) => ({
    name: row.node,
    ekSha256: row.ek_sha256,
    akSha256: row.ak_sha256,
    boundAt: toUnixSeconds(row.bound_at),
    enrolledAt: toUnixSeconds(row.enrolled_at),
    details: JSON.stringify(row.details),
    revoked: row.revoked,
  }));
}

/**
 * Binds a node's name to an endorsement key, in place of the one before: what enrolment never does by itself.
 * @returns the key before; '' when the name was free
 */
export async function approveNode(
  database: Database,
  { name }: Administrator,
  request: ApproveNodeRequest,
): Promise<string> {
  const node = requireNodeName(request.node);
  const ekSha256 = requireSha256(request.ekSha256);
  const reason = requireReason(request.reason);
  return database.transaction(async (queries) => {
    const [before] = await queries.query<{ ek_sha256: string }>(
      'SELECT ek_sha256 FROM nodes WHERE node = $1 FOR UPDATE',
      [node],
    );
    // No attestation key yet: the next enrolment by this endorsement key brings it.
    await queries.query(
      `INSERT INTO nodes (node, ek_sha256, ak_sha256, details) VALUES ($1, $2, '', '{}')
       ON CONFLICT (node) DO UPDATE SET ek_sha256 = $2, ak_sha256 = '', details = '{}', bound_at = now() WHERE nodes.ek_sha256 <> $2`,
      [node, ekSha256],
    );
    const previous = before?.ek_sha256 ?? '';
    await recordAudit(queries, {
      kind: 'admin.approve_node',
      detail: { administrator: name, subject: `node/${node}`, ekSha256, previousEkSha256: previous, reason },
    });
    return previous;
  });
}
