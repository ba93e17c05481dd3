import { newRecord } from '../../attestation/transparency/record';
import { appendRecords } from './audit';
import type { AuditEntry } from './audit';
import { leftOut } from './bounded';
import type { Queries } from '../store/queries';
import { dateOf, systemClock } from '../../runtime/clock';
import type { Clock, Timer } from '../../runtime/clock';
import { silent } from '../../runtime/log/log';
import type { Logger } from '../../runtime/log/log';
import { workForAll } from '../../runtime/turns/requester';

/** Different users, for each reason, whose refusals of one minute are counted by themselves. All others of that minute are one count. */
const USERS_A_MINUTE = 50;
/** In place of a user: nobody of that name, or one too many. */
const NO_ONE = '';
/** Counts stay in memory for this long at most. */
const FLUSH_MS = 1_000;

interface Refusal {
  /** The code of the refusal: one of the program's own, never a caller's text. */
  reason: string;
  /** The account, where there is one. Never a name. */
  user?: string | undefined;
}

/**
 * Counts refusals. They cost whoever is refused nothing, so they are neither recorded one by one nor written one by one: a program counts in memory and
 * adds its counts to the database's every second; and a minute's are one record for each reason and user, made when the minute is over, of no
 * more than `USERS_A_MINUTE` users. A program that is killed loses the counts of its last second; one that is stopped writes them.
 */
export class Refusals {
  private counts = new Map<string, Map<string, number>>();
  private timer: Timer | undefined;
  private writing: Promise<void> = Promise.resolve();

  private readonly clock: Clock;
  private readonly log: Logger;

  constructor(
    private readonly queries: Queries,
    { clock = systemClock, log = silent }: { clock?: Clock; log?: Logger } = {},
  ) {
    this.clock = clock;
    this.log = log;
  }

  count({ reason, user = NO_ONE }: Refusal): void {
    this.add(reason, user, 1);
    this.wake();
  }

  /** Writes what was counted until now. A database that is away gets it later: nothing is thrown. */
  flush(): Promise<void> {
    this.timer?.cancel();
    this.timer = undefined;
    this.writing = this.writing.then(() => this.write());
    return this.writing;
  }

  /** Writes what is left: before the database is closed. */
  async close(): Promise<void> {
    await this.flush();
    this.timer?.cancel();
  }

  private wake(): void {
    this.timer ??= this.clock.after(FLUSH_MS, () => void workForAll(() => this.flush()));
  }

  private add(reason: string, user: string, count: number): void {
    let users = this.counts.get(reason);
    if (!users) this.counts.set(reason, (users = new Map<string, number>()));
    const counted = users.has(user) || users.size < USERS_A_MINUTE ? user : NO_ONE;
    users.set(counted, (users.get(counted) ?? 0) + count);
  }

  private async write(): Promise<void> {
    const { counts } = this;
    if (counts.size === 0) return;
    this.counts = new Map();
    const rows = [...counts].flatMap(([reason, users]) => [...users].map(([user, count]) => ({ reason, user, count })));
    try {
      await addCounts(this.queries, rows);
    } catch (err) {
      this.log.warn({ err }, 'refusals are not counted in the database yet');
      for (const { reason, user, count } of rows) this.add(reason, user, count);
      this.wake();
    }
  }
}

/** Rows in one order on every replica: they wait for one another and never in a circle. */
async function addCounts(
  queries: Queries,
  rows: ReadonlyArray<{ reason: string; user: string; count: number }>,
): Promise<void> {
  await queries.query(
    `WITH given AS (
       SELECT n.reason, n.user_id, n.count, n.user_id = '' OR EXISTS (
         SELECT 1 FROM audit_refusals c WHERE c.minute = date_trunc('minute', now()) AND c.reason = n.reason AND c.user_id = n.user_id) AS there
       FROM json_to_recordset($1::json) AS n (reason text, user_id text, count bigint)
     ), placed AS (
       SELECT reason, count, CASE WHEN there OR (SELECT count(*) FROM audit_refusals c WHERE c.minute = date_trunc('minute', now()) AND c.reason = given.reason AND c.user_id <> '')
         + count(*) FILTER (WHERE NOT there) OVER (PARTITION BY reason ORDER BY user_id) <= $2 THEN user_id ELSE '' END AS user_id
       FROM given
     )
     INSERT INTO audit_refusals AS r (minute, reason, user_id, count)
     SELECT date_trunc('minute', now()), reason, user_id, sum(count) FROM placed GROUP BY reason, user_id ORDER BY reason, user_id
     ON CONFLICT (minute, reason, user_id) DO UPDATE SET count = r.count + excluded.count`,
    [JSON.stringify(rows.map(({ user, ...row }) => ({ ...row, user_id: user }))), USERS_A_MINUTE],
  );
}

function kindOf(reason: string): AuditEntry {
  const kind = leftOut(reason);
  return kind === undefined ? { kind: 'refused', detail: { reason } } : { kind: 'left_out', detail: { kind } };
}

/**
 * Records what was counted in minutes that are over. In the transaction that merges, of which there is one at a time.
 * @returns whether more are left than `limit`
 */
export async function recordRefusals(queries: Queries, limit: number, clock: Clock = systemClock): Promise<boolean> {
  const rows = await queries.query<{ minute: Date; reason: string; user_id: string; count: string }>(
    `DELETE FROM audit_refusals WHERE (minute, reason, user_id) IN (
       SELECT minute, reason, user_id FROM audit_refusals WHERE minute < date_trunc('minute', now()) ORDER BY minute, reason, user_id LIMIT $1)
     RETURNING minute, reason, user_id, count::text`,
    [limit],
  );
  const records = rows.map(({ minute, reason, user_id: user, count }) =>
    newRecord(
      {
        ...kindOf(reason),
        detail: {
          ...kindOf(reason).detail,
          ...(user !== NO_ONE && { user }),
          count: Number(count),
          minute: minute.toISOString(),
        },
      },
      dateOf(clock),
    ),
  );
  await appendRecords(queries, records);
  return rows.length === limit;
}
