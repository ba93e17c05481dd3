import { status } from '@grpc/grpc-js';
import { RpcError } from '../../runtime/rpc/errors';
import type { Database } from '../store/database';
import type { Position } from '../../attestation/transparency/frontier';
import { consistencyProof, inclusionProof } from '../../attestation/transparency/proof';
import type { LogKeys } from './keys';
import { treeDamaged, merge } from './merge';
import type { Merged, SignedHead } from './merge';
import { isYounger, systemClock } from '../../runtime/clock';
import type { Clock, Timer } from '../../runtime/clock';
import { silent } from '../../runtime/log/log';
import type { Logger } from '../../runtime/log/log';
import { workForAll } from '../../runtime/turns/requester';

/** Heads are made this often at most, by each replica. */
const HEAD_MS = 1_000;
/** Batches that one call merges at most: a backlog of thousands is worked off by several. */
const BATCHES = 20;

interface AuditLogOptions {
  database: Database;
  /** As they are now: they may be replaced while the program runs. `fresh`: as they are at this moment. */
  keys(options?: { fresh?: boolean }): Promise<LogKeys>;
  trustDomain: string;
  /** Silent, unless told. */
  log?: Logger;
  /** The system's, unless told. */
  clock?: Clock;
}

/** One record as it is stored, with the hashes that were made when it got its place. Nothing of it is checked here. */
interface StoredRecord {
  sequence: number;
  record: Buffer;
  leafSha256: Buffer;
  /** Of the subtrees that it completes, smallest first; empty buffers for those that are gone. */
  nodes: Buffer[];
}

/** The audit as a log (RFC 9162, 2.1): heads and proofs. Refusals of the database: see Database. */
export class AuditLog {
  private latest: { made: Promise<SignedHead>; at: number; pending: boolean } | undefined;
  private timer: Timer | undefined;
  private closed = false;

  private readonly clock: Clock;

  constructor(private readonly options: AuditLogOptions) {
    this.clock = options.clock ?? systemClock;
  }

  /**
   * A signed head of the last second, over all that was recorded before it was made. Costs the log as much for many callers as for one: anyone may ask.
   * @param atLeast one of this size is known to the caller
   * @throws RpcError FAILED_PRECONDITION audit.tree_damaged; UNAVAILABLE audit.key_unknown
   */
  async head(atLeast = 0): Promise<SignedHead> {
    const { latest } = this;
    // One that is being made is waited for, however long it takes: each that is begun holds a connection.
    if (!latest || (!latest.pending && !isYounger(this.clock, latest.at, HEAD_MS))) return this.update();
    const head = await latest.made;
    // Another replica may have signed a larger one meanwhile. What no replica has signed isn't looked for.
    if (head.size >= atLeast || (await this.size()) <= head.size) return head;
    return this.update();
  }

  /** A signed head over all that was recorded until now. @throws as `head` */
  update(): Promise<SignedHead> {
    const made = workForAll(() => this.mergeAll(true));
    // A failure counts as an answer for as long as a head does.
    const latest = { made, at: this.clock.now(), pending: true };
    this.latest = latest;
    const settled = (): void => void (latest.pending = false);
    made.then(settled, settled);
    return made;
  }

  /**
   * Something was recorded: brings it into the tree within a second or two, in the background. A program that ends before leaves it to the next one
   * that is asked for a head.
   */
  nudge(): void {
    if (this.timer || this.closed) return;
    const { clock, latest } = this;
    const wait = latest && isYounger(clock, latest.at, HEAD_MS) ? HEAD_MS - (clock.now() - latest.at) : 0;
    this.timer = clock.after(wait, () => {
      this.timer = undefined;
      workForAll(() => this.bringUp()).catch((err: unknown) => {
        (this.options.log ?? silent)[err instanceof RpcError && err.code.startsWith('audit.') ? 'error' : 'warn'](
          { err },
          'the audit log was not brought up to date',
        );
      });
    });
  }

  close(): void {
    this.closed = true;
    this.timer?.cancel();
  }

  /** @throws RpcError NOT_FOUND audit.not_included; INVALID_ARGUMENT audit.size */
  async inclusion(leafSha256: Buffer, size: number): Promise<{ sequence: number; path: Buffer[] }> {
    await this.requireSize(size);
    const [row] = await this.options.database.query<{ sequence: string | null }>(
      'SELECT sequence::text FROM audit WHERE leaf_sha256 = $1',
      [leafSha256],
    );
    const sequence = Number(row?.sequence ?? Number.NaN);
    if (!(sequence < size))
      throw new RpcError('audit.not_included', status.NOT_FOUND, `there is no such record among the first ${size}`);
    return { sequence, path: await inclusionProof(sequence, size, (positions) => this.hashes(positions)) };
  }

  /** @throws RpcError INVALID_ARGUMENT audit.size */
  async consistency(first: number, second: number): Promise<Buffer[]> {
    await this.requireSize(second);
    if (!Number.isSafeInteger(first) || first < 0 || first > second)
      throw new RpcError(
        'audit.size',
        status.INVALID_ARGUMENT,
        `expected sizes of two trees, the smaller one first, got ${first} and ${second}`,
      );
    return consistencyProof(first, second, (positions) => this.hashes(positions));
  }

  /** Stored records from the given place on, before `size`, in the order of their places. */
  async stored({ from, size, limit }: { from: number; size: number; limit: number }): Promise<StoredRecord[]> {
    const { database } = this.options;
    const rows = await database.query<{ sequence: string; record: Buffer; leaf_sha256: Buffer }>(
      'SELECT sequence::text, record, leaf_sha256 FROM audit WHERE sequence >= $1 AND sequence < $2 ORDER BY audit.sequence LIMIT $3',
      [from, size, limit],
    );
    const records = rows.map((row) => ({
      sequence: Number(row.sequence),
      record: row.record,
      leafSha256: row.leaf_sha256,
    }));
    const wanted = records.map(({ sequence }) => completedBy(sequence));
    const hashes = await this.find(wanted.flat());
    let at = 0;
    return records.map((record, nth) => ({
      ...record,
      nodes: (wanted[nth] ?? []).map(() => hashes[at++] ?? Buffer.alloc(0)),
    }));
  }

  private async bringUp(): Promise<void> {
    const at = this.clock.now();
    const head = await this.mergeAll(false);
    if (head) this.latest = { made: Promise.resolve(head), at, pending: false };
    // Another merge is at work, which may have begun before this record was there.
    else this.nudge();
  }

  private async mergeAll(wait: true): Promise<SignedHead>;
  private async mergeAll(wait: boolean): Promise<SignedHead | undefined>;
  private async mergeAll(wait: boolean): Promise<SignedHead | undefined> {
    for (let batch = 1; ; batch++) {
      const merged = await this.mergeOnce(wait);
      if (!merged?.more) return merged?.head;
      if (batch < BATCHES) continue;
      this.nudge();
      return merged.head;
    }
  }

  private async mergeOnce(wait: boolean): Promise<Merged | undefined> {
    const { database, trustDomain, keys } = this.options;
    const once = async (fresh: boolean): Promise<Merged | undefined> => {
      const now = await keys({ fresh });
      return database.transaction((queries) => merge(queries, now, { trustDomain, wait, clock: this.clock }));
    };
    return once(false).catch((error: unknown) => {
      // Another replica has read a new key already.
      if (error instanceof RpcError && error.code === 'audit.key_unknown') return once(true);
      throw error;
    });
  }

  private async size(): Promise<number> {
    const [row] = await this.options.database.query<{ size: string }>('SELECT size::text FROM audit_tree');
    return Number(row?.size ?? 0);
  }

  private async requireSize(size: number): Promise<void> {
    const largest = await this.size();
    if (!Number.isSafeInteger(size) || size < 0 || size > largest) {
      throw new RpcError(
        'audit.size',
        status.INVALID_ARGUMENT,
        `expected the size of a tree head of this log, ${largest} at most, got ${size}`,
      );
    }
  }

  private async hashes(positions: readonly Position[]): Promise<Buffer[]> {
    return (await this.find(positions)).map((hash) => {
      if (hash?.length !== 32) throw treeDamaged('a hash is missing');
      return hash;
    });
  }

  private async find(positions: readonly Position[]): Promise<Array<Buffer | undefined>> {
    const { database } = this.options;
    const leaves = positions.flatMap(({ level, position }) => (level === 0 ? [position] : []));
    const nodes = positions.filter(({ level }) => level > 0);
    const found = new Map<string, Buffer>();
    if (leaves.length > 0) {
      const rows = await database.query<{ position: string; hash: Buffer }>(
        `SELECT sequence::text AS position, leaf_sha256 AS hash FROM audit WHERE sequence = ANY (string_to_array($1, ',')::bigint[])`,
        [leaves.join(',')],
      );
      for (const { position, hash } of rows) found.set(`0 ${position}`, hash);
    }
    if (nodes.length > 0) {
      const rows = await database.query<{ level: number; position: string; hash: Buffer }>(
        `SELECT a.level, a.position::text, a.sha256 AS hash FROM audit_nodes a
         JOIN json_to_recordset($1::json) AS n (level smallint, position bigint) ON a.level = n.level AND a.position = n.position`,
        [JSON.stringify(nodes)],
      );
      for (const { level, position, hash } of rows) found.set(`${level} ${position}`, hash);
    }
    return positions.map(({ level, position }) => found.get(`${level} ${position}`));
  }
}

/** The subtrees of two leaves and more whose last leaf this is. */
function completedBy(sequence: number): Position[] {
  const found: Position[] = [];
  for (let [level, count] = [1, sequence + 1]; count % 2 === 0; level++) {
    count /= 2;
    found.push({ level, position: count - 1 });
  }
  return found;
}
