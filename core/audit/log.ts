import { status } from '@grpc/grpc-js';
import { logger } from '../log/logger';
import { RpcError } from '../rpc/errors';
import type { Database } from '../store/database';
import type { Position } from '../transparency/frontier';
import { consistencyProof, inclusionProof } from '../transparency/proof';
import { damaged, merge } from './merge';
import type { LogKeys, SignedHead } from './merge';

/** Heads are made this often at most, by each replica. */
const HEAD_MS = 1_000;
/** Batches that one call merges at most: a backlog of thousands is worked off by several. */
const BATCHES = 20;

export interface AuditLogOptions {
  database: Database;
  /** As they are now: they may be replaced while the program runs. */
  keys(): Promise<LogKeys>;
  trustDomain: string;
}

/** One record as it is stored, with the hashes that were made when it got its place. Nothing of it is checked here. */
export interface StoredRecord {
  sequence: number;
  record: Buffer;
  leafSha256: Buffer;
  /** Of the subtrees that it completes, smallest first; empty buffers for those that are gone. */
  nodes: Buffer[];
}

/** The audit as a log (RFC 9162, 2.1): heads and proofs. Refusals of the database: see Database. */
export class AuditLog {
  private latest: { made: Promise<SignedHead>; at: number } | undefined;
  private timer: NodeJS.Timeout | undefined;

  constructor(private readonly options: AuditLogOptions) {}

  /**
   * A signed head of the last second, over all that was recorded before it was made.
   * @param atLeast one of this size is known to the caller
   * @throws RpcError FAILED_PRECONDITION audit.tree_damaged
   */
  async head(atLeast = 0): Promise<SignedHead> {
    if (this.latest && Date.now() - this.latest.at < HEAD_MS) {
      const head = await this.latest.made;
      if (head.size >= atLeast) return head;
    }
    return this.make();
  }

  /** A signed head over all that was recorded until now. @throws RpcError FAILED_PRECONDITION audit.tree_damaged */
  update(): Promise<SignedHead> {
    return this.make();
  }

  /**
   * Something was recorded: brings it into the tree within a second, in the background. A program that ends before leaves it to the next one
   * that is asked for a head.
   */
  nudge(): void {
    if (this.timer) return;
    const wait = Math.max(0, HEAD_MS - (Date.now() - (this.latest?.at ?? 0)));
    this.timer = setTimeout(() => {
      this.timer = undefined;
      this.make(false).catch((err: unknown) => {
        logger[err instanceof RpcError && err.code === 'audit.tree_damaged' ? 'error' : 'warn']({ err }, 'the audit log was not brought up to date');
      });
    }, wait);
    this.timer.unref();
  }

  close(): void {
    clearTimeout(this.timer);
  }

  /** @throws RpcError NOT_FOUND audit.not_included; INVALID_ARGUMENT audit.size */
  async inclusion(leafSha256: Buffer, size: number): Promise<{ sequence: number; path: Buffer[] }> {
    await this.requireSize(size);
    const [row] = await this.options.database.query<{ sequence: string | null }>('SELECT sequence::text FROM audit WHERE leaf_sha256 = $1', [leafSha256]);
    const sequence = Number(row?.sequence ?? Number.NaN);
    if (!(sequence < size)) throw new RpcError('audit.not_included', status.NOT_FOUND, `there is no such record among the first ${size}`);
    return { sequence, path: await inclusionProof(sequence, size, (positions) => this.hashes(positions)) };
  }

  /** @throws RpcError INVALID_ARGUMENT audit.size */
  async consistency(first: number, second: number): Promise<Buffer[]> {
    await this.requireSize(second);
    if (first > second) throw new RpcError('audit.size', status.INVALID_ARGUMENT, `expected sizes of two trees, the smaller one first, got ${first} and ${second}`);
    return consistencyProof(first, second, (positions) => this.hashes(positions));
  }

  /** Stored records from the given place on, before `size`, in the order of their places. */
  async stored({ from, size, limit }: { from: number; size: number; limit: number }): Promise<StoredRecord[]> {
    const { database } = this.options;
    const rows = await database.query<{ sequence: string; record: Buffer; leaf_sha256: Buffer }>(
      'SELECT sequence::text, record, leaf_sha256 FROM audit WHERE sequence >= $1 AND sequence < $2 ORDER BY audit.sequence LIMIT $3',
      [from, size, limit],
    );
    const records = rows.map((row) => ({ sequence: Number(row.sequence), record: row.record, leafSha256: row.leaf_sha256 }));
    const wanted = records.map(({ sequence }) => completedBy(sequence));
    const hashes = await this.find(wanted.flat());
    let at = 0;
    return records.map((record, nth) => ({ ...record, nodes: (wanted[nth] ?? []).map(() => hashes[at++] ?? Buffer.alloc(0)) }));
  }

  private make(wait = true): Promise<SignedHead> {
    const before = this.latest;
    const entry = { made: this.mergeAll(wait, before?.made), at: Date.now() };
    this.latest = entry;
    // One that could not be made is asked for again by the next one.
    entry.made.catch(() => (this.latest = this.latest === entry ? undefined : this.latest));
    return entry.made;
  }

  private async mergeAll(wait: boolean, before: Promise<SignedHead> | undefined): Promise<SignedHead> {
    const { database, trustDomain } = this.options;
    const keys = await this.options.keys();
    for (let batch = 1; ; batch++) {
      const merged = await database.transaction((queries) => merge(queries, keys, { trustDomain, wait }));
      // Another replica is at it.
      if (!merged) return (await before?.catch(() => undefined)) ?? this.mergeAll(true, undefined);
      if (!merged.more || batch === BATCHES) return merged.head;
    }
  }

  private async requireSize(size: number): Promise<void> {
    const [row] = await this.options.database.query<{ size: string }>('SELECT size::text FROM audit_tree');
    if (!Number.isSafeInteger(size) || size < 0 || size > Number(row?.size ?? 0)) {
      throw new RpcError('audit.size', status.INVALID_ARGUMENT, `expected the size of a tree head of this log, ${row?.size ?? 0} at most, got ${size}`);
    }
  }

  private async hashes(positions: readonly Position[]): Promise<Buffer[]> {
    return (await this.find(positions)).map((hash) => {
      if (hash?.length !== 32) throw damaged('a hash is missing');
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
