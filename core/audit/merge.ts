import { status } from '@grpc/grpc-js';
import type { CryptoKey } from 'jose';
import { logger } from '../log/logger';
import { RpcError } from '../rpc/errors';
import type { Queries } from '../store/database';
import { LogError } from '../transparency/errors';
import { Frontier } from '../transparency/frontier';
import type { Subtree } from '../transparency/frontier';
import { readTreeHead, signTreeHead } from '../transparency/tree-head';
import type { TreeHead } from '../transparency/tree-head';
import { recordRefusals } from './refusals';

/** In one transaction: a few hundred milliseconds for those who wait. */
const BATCH = 500;
/** A head that nothing came after is signed again when it is this old: well before clients find it too old. */
const RENEW_MS = 60_000;

/** Keys of the log: the one that signs now, and all that are believed. */
export interface LogKeys {
  readonly signing: { kid: string; key: CryptoKey };
  readonly verifying: { get(kid: string): CryptoKey | undefined };
}

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
export function damaged(what: string): RpcError {
  return new RpcError('audit.tree_damaged', status.FAILED_PRECONDITION, `the audit log's tree was changed in the database: ${what}`);
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
 * A head is signed only for a tree that extends what was signed last.
 * @param wait false: where another merge is at work, there is nothing to do
 * @throws RpcError FAILED_PRECONDITION audit.tree_damaged
 */
export async function merge(queries: Queries, keys: LogKeys, { trustDomain, wait }: { trustDomain: string; wait: boolean }): Promise<Merged | undefined> {
  const [row] = await queries.query<TreeRow>(`SELECT size::text, frontier, head FROM audit_tree FOR UPDATE${wait ? '' : ' SKIP LOCKED'}`);
  if (!row) {
    if (wait) throw damaged('its row is gone');
    return undefined;
  }
  await recordRefusals(queries);
  const fresh = await queries.query<{ id: string; leaf_sha256: Buffer }>(
    'SELECT id::text, leaf_sha256 FROM audit WHERE sequence IS NULL ORDER BY audit.id LIMIT $1',
    [BATCH],
  );
  const frontier = frontierOf(row);
  const last = await lastHead(row, keys, trustDomain);
  if (last && (last.size !== frontier.size || !last.root.equals(frontier.root()))) throw damaged('it does not end where it was signed last');
  const renewed = last && headIsFresh(last) && row.head !== null ? { ...last, signed: row.head } : undefined;
  if (fresh.length === 0 && renewed && isSignedNow(row.head, keys)) return { head: renewed, more: false };

  const first = frontier.size;
  const nodes = fresh.flatMap(({ leaf_sha256: leaf }) => frontier.append(leaf));
  await place(queries, fresh.map(({ id }) => id), first);
  await storeNodes(queries, nodes);
  const head = { size: frontier.size, root: frontier.root(), at: new Date() };
  const signed = await signTreeHead(head, keys.signing, trustDomain);
  await queries.query('UPDATE audit_tree SET size = $1, frontier = $2, head = $3', [frontier.size, Buffer.concat(frontier.edge), signed]);
  return { head: { ...head, signed }, more: fresh.length === BATCH };
}

function frontierOf({ size, frontier }: TreeRow): Frontier {
  const hashes = Array.from({ length: Math.ceil(frontier.length / 32) }, (_, at) => frontier.subarray(32 * at, 32 * (at + 1)));
  try {
    return new Frontier(Number(size), hashes);
  } catch {
    throw damaged('its right edge does not fit its size');
  }
}

/** What was signed last; undefined where that was nothing, or by a key that is believed no longer. */
async function lastHead({ head }: TreeRow, { verifying }: LogKeys, trustDomain: string): Promise<TreeHead | undefined> {
  if (head === null) return undefined;
  try {
    return await readTreeHead(head, { keyOf: (kid) => verifying.get(kid), trustDomain });
  } catch (error) {
    if (!(error instanceof LogError)) throw error;
    logger.warn({ code: error.code }, "the audit log's last head is by no key of now: the next one is signed without it");
    return undefined;
  }
}

function headIsFresh({ at }: TreeHead): boolean {
  return Math.abs(Date.now() - at.getTime()) < RENEW_MS;
}

function isSignedNow(head: string | null, { signing }: LogKeys): boolean {
  const [header = ''] = (head ?? '').split('.');
  return (JSON.parse(Buffer.from(header, 'base64url').toString('utf8')) as { kid?: unknown }).kid === signing.kid;
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
