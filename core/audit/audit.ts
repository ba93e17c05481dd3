import type { Queries } from '../store/database';

/** A decision about who is trusted. Holds no secret. */
export interface AuditEntry {
  /** Who decided: `enrol`, or `admin/NAME`. */
  actor: string;
  /** What was decided: `enrol.key_enrolled`, `enrol.node_bound`, `admin.revoke`, … */
  action: string;
  /** What it was about: `node/NAME`, `user/ID`, `ak/SHA256`, `ek/SHA256`. */
  subject: string;
  details: Record<string, string | number | boolean | null>;
}

export interface AuditRecord extends AuditEntry {
  id: bigint;
  at: Date;
}

/** Records a decision; in the transaction that carries it out, so that there is none without the other. */
export async function recordAudit(queries: Queries, { actor, action, subject, details }: AuditEntry): Promise<void> {
  await queries.query('INSERT INTO audit (actor, action, subject, details) VALUES ($1, $2, $3, $4)', [actor, action, subject, JSON.stringify(details)]);
}

/** Records after the given one, oldest first, `limit` at most. */
export async function readAudit(queries: Queries, { after, limit }: { after: bigint; limit: number }): Promise<AuditRecord[]> {
  const rows = await queries.query<{ id: string; at: Date; actor: string; action: string; subject: string; details: AuditEntry['details'] }>(
    'SELECT id::text, at, actor, action, subject, details FROM audit WHERE id > $1 ORDER BY id LIMIT $2',
    [after.toString(), limit],
  );
  return rows.map((row) => ({ ...row, id: BigInt(row.id) }));
}
