import type { Transactions } from '../store/connection';
import { recordAudit } from '../audit/audit';

/** What a database was restored from. */
export interface Restored {
  backupAt: Date;
  /** Who restored it, and why. */
  reason: string;
}

/**
 * Ends what must not come back with a backup: every session with its refresh tokens, since one may have been ended after it was made. The audit log says that it
 * went back, and to when, in a record of its own, which is signed with the next head.
 * @returns how many sessions ended
 */
export async function beginAnew(connection: Transactions, { backupAt, reason }: Restored): Promise<number> {
  return connection.transaction(async (queries) => {
    const ended = await queries.query(
      "UPDATE sessions SET revoked_at = now(), revoked_because = 'restored' WHERE revoked_at IS NULL RETURNING id",
    );
    await recordAudit(queries, {
      kind: 'log.restored',
      detail: { backupAt: backupAt.toISOString(), reason, sessionsEnded: ended.length },
    });
    return ended.length;
  });
}
