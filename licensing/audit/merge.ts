import { status } from '@grpc/grpc-js';
import { RpcError } from '../../runtime/rpc/errors';
import { LogError } from '../../attestation/transparency/errors';
import { Frontier } from '../../attestation/transparency/frontier';
import type { Subtree } from '../../attestation/transparency/frontier';
import { headerOf, readTreeHead, signTreeHead } from '../../attestation/transparency/tree-head';
import type { TreeHead } from '../../attestation/transparency/tree-head';
import type { LogKeys } from './keys';
import { recordRefusals } from './refusals';
import type { Queries } from '../store/queries';
import { dateOf, systemClock } from '../../runtime/clock';
import type { Clock } from '../../runtime/clock';

/** In one transaction: a few hundred milliseconds for those who wait. */
const BATCH = 500;
/** A head that nothing came after is signed again when it is this old: well before clients find it too old. */
const RENEW_MS = 60_000;
/** SQLSTATE (PostgreSQL documentation, appendix A). */
const UNIQUE_VIOLATION = '23505';

export interface SignedHead extends TreeHead {
  /** As clients get it. */
  signed: string;
}

export interface Merged {
  head: SignedHead;
  /** Records are left for another batch. */
  more: boolean;
}

/** The tree in the database is not the one whose head was signed last. */
export function treeDamaged(what: string): RpcError {
  return new RpcError(
    'audit.tree_damaged',
    status.FAILED_PRECONDITION,
    `the audit log's tree was changed in the database: ${what}`,
  );
}

/** A key that this program has not read yet, or that never was one of the log's. */
function unknownKey(kid: string): RpcError {
  return new RpcError(
    'audit.key_unknown',
    status.UNAVAILABLE,
    `the audit log's last head is signed by a key that this service does not know (${JSON.stringify(kid.slice(0, 80))}): nothing is signed after it`,
  );
}

interface TreeRow {
  size: string;
  frontier: Buffer;
  head: string | null;
}

/**
 * Gives records that were written since the last time their places in the tree, in the order of their ids, and signs the new head. The row of the tree
 * is the lock: one merge at a time over all replicas, so places are dense and every head extends the one before. Whoever writes records never takes it.
 *
 * A head is signed only for a tree that extends what was signed last, by whichever key: see LogKeys.
 * @param wait false: where another merge is at work, there is nothing to do
 * @throws RpcError FAILED_PRECONDITION audit.tree_damaged; UNAVAILABLE audit.key_unknown
 */
export async function merge(
  queries: Queries,
  keys: LogKeys,
  { trustDomain, wait, clock = systemClock }: { trustDomain: string; wait: boolean; clock?: Clock },
): Promise<Merged | undefined> {
  const [row] = await queries.query<TreeRow>(
    `SELECT size::text, frontier, head FROM audit_tree FOR UPDATE${wait ? '' : ' SKIP LOCKED'}`,
  );
  if (!row) {
    if (wait) throw treeDamaged('its row is gone');
    return undefined;
  }
  const frontier = frontierOf(row);
  const last = await lastHead(row, keys, trustDomain);
  if (last && (last.size !== frontier.size || !last.root.equals(frontier.root())))
    throw treeDamaged('it does not end where it was signed last');
  const moreRefusals = await recordRefusals(queries, BATCH, clock);
  const fresh = await queries.query<{ id: string; leaf_sha256: Buffer }>(
    'SELECT id::text, leaf_sha256 FROM audit WHERE sequence IS NULL ORDER BY audit.id LIMIT $1',
    [BATCH],
  );
  if (fresh.length === 0 && last && headIsFresh(last, clock) && last.kid === keys.signing.kid)
    return { head: last, more: false };

  const first = frontier.size;
  const nodes = fresh.flatMap(({ leaf_sha256: leaf }) => frontier.append(leaf));
  try {
    await place(
      queries,
      fresh.map(({ id }) => id),
      first,
    );
    await storeNodes(queries, nodes);
  } catch (error) {
    if ((error as { code?: unknown }).code === UNIQUE_VIOLATION)
      throw treeDamaged('something stands already where the next record comes');
    throw error;
  }
  const head = { size: frontier.size, root: frontier.root(), at: dateOf(clock) };
  const signed = await signTreeHead(head, keys.signing, trustDomain);
  await queries.query('UPDATE audit_tree SET size = $1, frontier = $2, head = $3', [
    frontier.size,
    Buffer.concat(frontier.edge),
    signed,
  ]);
  return { head: { ...head, signed }, more: moreRefusals || fresh.length === BATCH };
}

function frontierOf({ size, frontier }: TreeRow): Frontier {
  const hashes = Array.from({ length: Math.ceil(frontier.length / 32) }, (_, at) =>
    frontier.subarray(32 * at, 32 * (at + 1)),
  );
  try {
    return new Frontier(Number(size), hashes);
  } catch {
    throw treeDamaged('its right edge does not fit its size');
  }
}

/** What was signed last. @returns undefined where nothing was, which is only before the first record */
async function lastHead(
  { size, head }: TreeRow,
  { known }: LogKeys,
  trustDomain: string,
): Promise<(SignedHead & { kid: string }) | undefined> {
  if (head === null) {
    if (size !== '0') throw treeDamaged('its last head is gone');
    return undefined;
  }
  try {
    const { kid } = headerOf(head);
    const key = known.get(kid);
    if (!key) throw unknownKey(kid);
    return { ...(await readTreeHead(head, { keyOf: () => key, trustDomain })), signed: head, kid };
  } catch (error) {
    if (error instanceof LogError) throw treeDamaged('its last head is none of this log');
    throw error;
  }
}

function headIsFresh({ at }: TreeHead, clock: Clock): boolean {
  return Math.abs(clock.now() - at.getTime()) < RENEW_MS;
}

async function place(queries: Queries, ids: readonly string[], first: number): Promise<void> {
  if (ids.length === 0) return;
  await queries.query(
    `UPDATE audit SET sequence = $2::bigint + n.nth - 1
     FROM unnest(string_to_array($1, ',')::bigint[]) WITH ORDINALITY AS n (id, nth) WHERE audit.id = n.id`,
    [ids.join(','), first],
  );
}

async function storeNodes(queries: Queries, nodes: readonly Subtree[]): Promise<void> {
  if (nodes.length === 0) return;
  await queries.query(
    `INSERT INTO audit_nodes (level, position, sha256)
     SELECT level, position, decode(hash, 'hex') FROM json_to_recordset($1::json) AS n (level smallint, position bigint, hash text)`,
    [JSON.stringify(nodes.map(({ level, position, hash }) => ({ level, position, hash: hash.toString('hex') })))],
  );
}
