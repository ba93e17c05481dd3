import type { ServerWritableStream } from '@grpc/grpc-js';
import { readAudit } from '../../licensing/audit/audit';
import type { AuditLog } from '../../licensing/audit/log';
import { writeMessage } from '../../runtime/rpc/handlers';
import type { Database } from '../../licensing/store/database';
import type {
  ReadAuditLogRequest,
  ReadAuditLogResponse,
  TailAuditRequest,
  TailAuditResponse,
} from '../../proto/gen/licensing/v1/admin';
import type { Clock } from '../../runtime/clock';

const PAGE = 200;
const FOLLOW_MS = 1_000;

/**
 * Records in the order of the log. A record gets its place there when its transaction has ended, so none comes to stand before one that was
 * shown already.
 * @param admitted throws where whoever follows the log may not any more
 */
export async function tailAudit(
  call: ServerWritableStream<TailAuditRequest, TailAuditResponse>,
  signal: AbortSignal,
  { database, log, clock, admitted }: { database: Database; log: AuditLog; clock: Clock; admitted(): Promise<void> },
): Promise<void> {
  let after = call.request.after === undefined ? undefined : Number(call.request.after);
  while (!signal.aborted) {
    await admitted();
    await log.update();
    const records = await readAudit(database, { after, limit: PAGE });
    for (const { sequence, at, kind, detail } of records) {
      await writeMessage(call, {
        id: BigInt(sequence),
        at: BigInt(at.getTime()),
        kind,
        detail: JSON.stringify(detail),
      });
      after = sequence;
    }
    if (records.length === PAGE) continue;
    if (!call.request.follow) return;
    await clock.sleep(FOLLOW_MS, signal).catch(() => undefined);
  }
}

/** The first `size` records as they are stored: checking them is for who reads them. */
export async function readAuditLog(
  call: ServerWritableStream<ReadAuditLogRequest, ReadAuditLogResponse>,
  signal: AbortSignal,
  log: AuditLog,
): Promise<void> {
  const size = Number(call.request.size);
  for (let from = 0; !signal.aborted;) {
    const records = await log.stored({ from, size, limit: PAGE });
    for (const { sequence, ...record } of records) await writeMessage(call, { sequence: BigInt(sequence), ...record });
    if (records.length < PAGE) return;
    from = (records[records.length - 1]?.sequence ?? 0) + 1;
  }
}
