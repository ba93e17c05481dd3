import type { Queries } from '../store/database';

/** A decision about who is trusted. Holds no secret. */
export interface AuditEntry {
  /** What was decided: enrol.node_bound, admin.revoke, … */
  kind: string;
  detail: Record<string, unknown>;
}

export interface AuditRecord extends AuditEntry {
  id: bigint;
  at: Date;
}

/** Records a decision; in the transaction that carries it out, so that there is none without the other. */
export async function recordAudit(queries: Queries, { kind, detail }: AuditEntry): Promise<void> {
  await queries.query('INSERT INTO audit (kind, detail) VALUES ($1, $2)', [kind, JSON.stringify(detail)]);
}

/** Records after the given one, oldest first, `limit` at most. */
export async function readAudit(queries: Queries, { after, limit }: { after: bigint; limit: number }): Promise<AuditRecord[]> {
  const rows = await queries.query<{ id: string; at: Date; kind: string; detail: AuditEntry['detail'] }>(
    'SELECT id::text, at, kind, detail FROM audit WHERE id > $1 ORDER BY audit.id LIMIT $2',
    [after.toString(), limit],
  );
  return rows.map((row) => ({ ...row, id: BigInt(row.id) }));
}
