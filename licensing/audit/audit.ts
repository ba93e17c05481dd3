import { leafHash } from '../../attestation/transparency/merkle';
import { newRecord, readRecord } from '../../attestation/transparency/record';
import type { AuditEntry, AuditRecord } from '../../attestation/transparency/record';
import { mayRecord } from './bounded';
import type { Queries } from '../store/queries';
import { dateOf, systemClock } from '../../runtime/clock';
import type { Clock } from '../../runtime/clock';

export type { AuditEntry, AuditRecord };

/**
 * Records a decision; in the transaction that carries it out, so that there is none without the other. The record gets its place in the log's tree
 * afterwards (merge.ts): nobody waits for anybody here. Of what a user can do without end, what is too much is counted instead (bounded.ts).
 */
export async function recordAudit(queries: Queries, entry: AuditEntry, clock: Clock = systemClock): Promise<void> {
  if (await mayRecord(queries, entry)) await appendRecord(queries, newRecord(entry, dateOf(clock)));
}

/** As `recordAudit`, for who needs the record itself. Appending it twice is appending it once. */
export async function appendRecord(queries: Queries, record: Buffer): Promise<void> {
  await queries.query(
    'INSERT INTO audit (record, leaf_sha256, at) VALUES ($1, $2, NULL) ON CONFLICT (leaf_sha256) DO NOTHING',
    [record, leafHash(record)],
  );
}

/** As `appendRecord`, of several at once. */
export async function appendRecords(queries: Queries, records: readonly Buffer[]): Promise<void> {
  if (records.length === 0) return;
  await queries.query(
    `INSERT INTO audit (record, leaf_sha256, at)
     SELECT decode(n.record, 'hex'), decode(n.leaf, 'hex'), NULL FROM json_to_recordset($1::json) AS n (nth int, record text, leaf text) ORDER BY n.nth
     ON CONFLICT (leaf_sha256) DO NOTHING`,
    [
      JSON.stringify(
        records.map((record, nth) => ({ nth, record: record.toString('hex'), leaf: leafHash(record).toString('hex') })),
      ),
    ],
  );
}

/** A record and its place in the log, from 0. */
interface LoggedRecord extends AuditRecord {
  sequence: number;
}

/** Records of the log after the given place, in their order, `limit` at most. What isn't in the tree yet isn't there. @throws TypeError for one that can't be read */
export async function readAudit(
  queries: Queries,
  { after = -1, limit }: { after?: number | undefined; limit: number },
): Promise<LoggedRecord[]> {
  const rows = await queries.query<{ sequence: string; record: Buffer }>(
    'SELECT sequence::text, record FROM audit WHERE sequence > $1 ORDER BY audit.sequence LIMIT $2',
    [after, limit],
  );
  return rows.map(({ sequence, record }) => ({ sequence: Number(sequence), ...readRecord(record) }));
}
