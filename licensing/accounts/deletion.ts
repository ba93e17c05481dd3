import { recordAudit } from '../audit/audit';
import { forgetAccountLimits } from '../limits/limits';
import type { Database } from '../store/database';
import type { Queries } from '../store/queries';
import { silent } from '../../runtime/log/log';
import type { Logger } from '../../runtime/log/log';

/** Everything that was certified for a user has ended by then, and no clock differs by so much. */
const REMEMBERED = '2 days';

/** Why an account ends: what the audit record says. Holds no name. */
interface DeletionRecord {
  kind: 'account.deleted' | 'admin.delete_user';
  detail: Record<string, unknown>;
}

/**
 * Deletes an account and everything that names a person, at once or not at all: sessions, licences, enclaves' rows and whatever else refers to it goes
 * with its row. What is left is the user's id: in the audit, and in `deleted_users`, until its enclaves are removed and its certificates are over.
 * @param hold before anything is deleted: refuses, in the same transaction, what is not as its user was shown it
 * @returns false when there is no such account (any more)
 */
export function deleteAccount(
  database: Database,
  user: string,
  record: DeletionRecord,
  hold?: (queries: Queries) => Promise<void>,
): Promise<boolean> {
  return database.transaction(async (queries) => {
    const [account] = await queries.query<{ username: string }>(
      'SELECT username FROM accounts WHERE id = $1 FOR UPDATE',
      [user],
    );
    if (!account) return false;
    await hold?.(queries);
    const sessions = await queries.query<{ id: string }>('SELECT id FROM sessions WHERE user_id = $1', [user]);
    await forgetAccountLimits(
      queries,
      [account.username, user],
      sessions.map(({ id }) => id),
    );
    await queries.query(
      'INSERT INTO deleted_users (user_id, certified_until) SELECT $1, max(certified_until) FROM sessions WHERE user_id = $1 ON CONFLICT DO NOTHING',
      [user],
    );
    await queries.query('DELETE FROM accounts WHERE id = $1', [user]);
    await recordAudit(queries, record);
    return true;
  });
}

/** @returns undefined for a user who was not deleted lately */
export async function findDeletion(queries: Queries, user: string): Promise<{ enclavesRemoved: boolean } | undefined> {
  const [row] = await queries.query<{ removed: boolean }>(
    'SELECT enclaves_removed_at IS NOT NULL AS removed FROM deleted_users WHERE user_id = $1',
    [user],
  );
  return row && { enclavesRemoved: row.removed };
}

/** Deleted users whose enclaves may still be there. */
export async function pendingDeletions(queries: Queries): Promise<string[]> {
  const rows = await queries.query<{ user_id: string }>(
    'SELECT user_id FROM deleted_users WHERE enclaves_removed_at IS NULL ORDER BY deleted_at LIMIT 100',
  );
  return rows.map((row) => row.user_id);
}

export async function noteEnclavesRemoved(queries: Queries, user: string): Promise<void> {
  await queries.query(
    'UPDATE deleted_users SET enclaves_removed_at = now() WHERE user_id = $1 AND enclaves_removed_at IS NULL',
    [user],
  );
}

/** Removes what the enclaves of a deleted user are made of. @returns false when that could not be done now: it stays pending, and is in the log */
export async function removeEnclavesOf(
  queries: Queries,
  user: string,
  remove: () => Promise<void>,
  log: Logger = silent,
): Promise<boolean> {
  try {
    await remove();
    await noteEnclavesRemoved(queries, user);
    return true;
  } catch (err) {
    log.error({ err, user }, 'enclaves of a deleted user are not removed yet');
    return false;
  }
}

/** Forgets the ids of users of whom nothing is left that could be shown. */
export async function forgetDeletions(queries: Queries): Promise<void> {
  await queries.query(
    `DELETE FROM deleted_users WHERE enclaves_removed_at IS NOT NULL AND deleted_at < now() - interval '${REMEMBERED}'`,
  );
}
