import { recordAudit } from '../../licensing/audit/audit';
import { removeSecondFactor } from '../../licensing/second-factor/second-factors';
import type { Database } from '../../licensing/store/database';
import type { ResetSecondFactorRequest, ResetSecondFactorResponse } from '../../proto/gen/licensing/v1/admin';
import type { Administrator } from './authentication';
import { requireReason } from './requests';
import { requireUserId, userNamed } from './users';

/**
 * Removes the second factor of a user who lost it: their password is enough again. Sessions go on.
 * @throws RpcError INVALID_ARGUMENT admin.user_id, admin.reason; NOT_FOUND admin.no_such_user
 */
export async function resetSecondFactor(
  database: Database,
  { name }: Administrator,
  request: ResetSecondFactorRequest,
): Promise<ResetSecondFactorResponse> {
  const user = request.user === '' ? await userNamed(database, request.username) : requireUserId(request.user);
  const reason = requireReason(request.reason);
  const changed = await database.transaction(async (queries) => {
    // What its user does with it at this moment has happened, or sees that it is gone.
    await queries.query('SELECT id FROM accounts WHERE id = $1 FOR NO KEY UPDATE', [user]);
    const removed = await removeSecondFactor(queries, user);
    if (removed)
      await recordAudit(queries, {
        kind: 'admin.reset_second_factor',
        detail: { administrator: name, subject: `user/${user}`, reason },
      });
    return removed;
  });
  return { user, changed };
}
