import { status } from '@grpc/grpc-js';
import { logger } from '../log/logger';
import { RpcError } from '../rpc/errors';
import type { Queries } from '../store/database';
import { appendRecord } from './audit';
import { newRecord } from './record';

/** Different users, for each reason, whose refusals of one minute are counted by themselves. All others of that minute are one count. */
const USERS_A_MINUTE = 50;
/** In place of a user: nobody of that name, or one too many. */
const NO_ONE = '';

export interface Refusal {
  /** The code of the refusal. */
  reason: string;
  /** The account, where there is one. Never a name. */
  user?: string | undefined;
}

/** Decisions, as against mistakes of the caller and failures of our own. */
const DECISIONS = new Set([status.UNAUTHENTICATED, status.PERMISSION_DENIED, status.RESOURCE_EXHAUSTED, status.FAILED_PRECONDITION]);

const users = new WeakMap<object, string>();

/** Notes whom a call, or its refusal, is about. For the audit alone: nothing of it reaches the caller. @returns the same */
export function aboutUser<T extends object>(user: string | undefined, about: T): T {
  if (user !== undefined) users.set(about, user);
  return about;
}

/** A handler whose refusals are counted. Its last argument is the call's context. */
export function countingRefusals<Arguments extends [...unknown[], object], T>(
  queries: Queries,
  handle: (...args: Arguments) => Promise<T>,
): (...args: Arguments) => Promise<T> {
  return async (...args) => {
    try {
      return await handle(...args);
    } catch (error) {
      if (error instanceof RpcError && DECISIONS.has(error.grpcStatus) && !error.code.startsWith('rpc.')) {
        const refusal = { reason: error.code, user: users.get(error) ?? users.get(args[args.length - 1] as object) };
        await countRefusal(queries, refusal).catch((err: unknown) => logger.warn({ err, ...refusal }, 'a refusal was not counted'));
      }
      throw error;
    }
  };
}

/**
 * Counts a refusal. Refusals cost whoever is refused nothing, so they are not recorded one by one: a minute's are one record for each reason and user,
 * written when the minute is over, and of no more than `USERS_A_MINUTE` users.
 */
export async function countRefusal(queries: Queries, { reason, user = NO_ONE }: Refusal): Promise<void> {
  await queries.query(
    `INSERT INTO audit_refusals AS r (minute, reason, user_id, count)
     SELECT date_trunc('minute', now()), $1::text,
       CASE WHEN (SELECT count(*) FROM audit_refusals WHERE minute = date_trunc('minute', now()) AND reason = $1 AND user_id <> $2) < $3 THEN $2::text ELSE '' END, 1
     ON CONFLICT (minute, reason, user_id) DO UPDATE SET count = r.count + 1`,
    [reason, user, USERS_A_MINUTE],
  );
}

/** Records what was counted in minutes that are over. In the transaction that merges, of which there is one at a time. */
export async function recordRefusals(queries: Queries): Promise<void> {
  const rows = await queries.query<{ minute: Date; reason: string; user_id: string; count: string }>(
    `DELETE FROM audit_refusals WHERE minute < date_trunc('minute', now()) RETURNING minute, reason, user_id, count::text`,
  );
  for (const { minute, reason, user_id: user, count } of rows) {
    const detail = { reason, ...(user !== NO_ONE && { user }), count: Number(count), minute: minute.toISOString() };
    await appendRecord(queries, newRecord({ kind: 'refused', detail }));
  }
}
