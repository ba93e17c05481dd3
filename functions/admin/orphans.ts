import { listOrphans, permitOrphans } from '../../licensing/enclaves/orphans';
import type { Database } from '../../licensing/store/database';
import { toUnixSeconds } from '../../runtime/rpc/unix-time';
import type { Clock } from '../../runtime/clock';
import type { Orphan, PermitOrphansRequest, PermitOrphansResponse } from '../../proto/gen/licensing/v1/admin';
import type { Administrator } from './authentication';
import { requireReason } from './requests';

/** A permit that the reaper, which runs hourly, did not need in this time is over. */
const PERMIT_MS = 24 * 3_600_000;

export async function orphansOf(database: Database): Promise<Orphan[]> {
  return (await listOrphans(database)).map(({ kind, object, user, since }) => ({
    kind,
    object,
    user,
    since: toUnixSeconds(since),
  }));
}

/** @throws RpcError INVALID_ARGUMENT admin.reason; FAILED_PRECONDITION admin.orphans_changed */
export async function permit(
  { database, clock }: { database: Database; clock: Clock },
  { name }: Administrator,
  request: PermitOrphansRequest,
): Promise<PermitOrphansResponse> {
  const until = new Date(clock.now() + PERMIT_MS);
  const reason = requireReason(request.reason);
  await permitOrphans(database, { objects: request.objects, until, administrator: name, reason });
  return { until: toUnixSeconds(until) };
}
