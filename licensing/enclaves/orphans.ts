import { status } from '@grpc/grpc-js';
import { RpcError } from '../../runtime/rpc/errors';
import { recordAudit } from '../audit/audit';
import type { Database } from '../store/database';
import type { Queries } from '../store/queries';

/** An object of the cluster that no row speaks for. */
interface Orphan {
  /** The API server's, of this very object. */
  uid: string;
  kind: 'Service' | 'PersistentVolumeClaim';
  /** The object's name. */
  object: string;
  /** Id of the user, and name of the enclave, that are written on it; no enclave: of before there were names. */
  user: string;
  enclave: string | undefined;
}

/** With the time at which it was first found. */
export interface MarkedOrphan extends Orphan {
  since: Date;
}

interface Row {
  uid: string;
  kind: Orphan['kind'];
  object: string;
  user_id: string;
  enclave: string | null;
  since: Date;
}

const read = ({ user_id: user, enclave, ...row }: Row): MarkedOrphan => ({
  ...row,
  user,
  enclave: enclave ?? undefined,
});

/**
 * Marks these as orphans and no others: who was marked keeps the time, whose owner is back, or who is gone, is forgotten.
 * @returns all of them, the oldest first
 */
export function markOrphans(database: Database, found: readonly Orphan[], now: Date): Promise<MarkedOrphan[]> {
  const json = JSON.stringify(found.map(({ enclave, ...rest }) => ({ ...rest, enclave: enclave ?? null })));
  return database.transaction(async (queries) => {
    await queries.query(
      'DELETE FROM orphans WHERE uid NOT IN (SELECT o.uid FROM json_to_recordset($1::json) AS o (uid text))',
      [json],
    );
    await queries.query(
      `INSERT INTO orphans (uid, kind, object, user_id, enclave, since)
       SELECT o.uid, o.kind, o.object, o."user", o.enclave, $2 FROM json_to_recordset($1::json) AS o (uid text, kind text, object text, "user" text, enclave text)
       ON CONFLICT (uid) DO NOTHING`,
      [json, now],
    );
    return listOrphans(queries);
  });
}

/** As they were marked last, the oldest first. */
export async function listOrphans(queries: Queries): Promise<MarkedOrphan[]> {
  const rows = await queries.query<Row>(
    'SELECT uid, kind, object, user_id, enclave, since FROM orphans ORDER BY since, object, kind',
  );
  return rows.map(read);
}

/** Notes that an orphan was deleted; nothing that names a person is in the record. */
export async function noteOrphanDeleted(database: Database, { uid, kind, object, user }: Orphan): Promise<void> {
  await database.transaction(async (queries) => {
    await queries.query('DELETE FROM orphans WHERE uid = $1', [uid]);
    await recordAudit(queries, { kind: 'enclave.orphan_deleted', detail: { user, kind, object } });
  });
}

/** An administrator's word that so many orphans may be deleted at once. */
interface OrphanPermit {
  objects: number;
  until: Date;
  administrator: string;
}

/** The one that holds now. */
export async function findOrphanPermit(queries: Queries, now: Date): Promise<OrphanPermit | undefined> {
  const [row] = await queries.query<OrphanPermit>(
    'SELECT objects, until, administrator FROM orphan_permits WHERE until > $1',
    [now],
  );
  return row;
}

/** It is for one time. */
export async function usePermit(queries: Queries): Promise<void> {
  await queries.query('DELETE FROM orphan_permits');
}

/**
 * Permits to delete as many orphans at once as there are, in place of a permit before. Time and age hold as without it.
 * @param objects as the administrator saw them: with another number of them there is no permit
 * @throws RpcError FAILED_PRECONDITION admin.orphans_changed
 */
export function permitOrphans(
  database: Database,
  { objects, until, administrator, reason }: OrphanPermit & { reason: string },
): Promise<void> {
  return database.transaction(async (queries) => {
    const [found] = await queries.query<{ count: number }>('SELECT count(*)::int AS count FROM orphans');
    if (objects < 1 || found?.count !== objects) {
      throw new RpcError(
        'admin.orphans_changed',
        status.FAILED_PRECONDITION,
        `expected the number of orphans there are, ${found?.count ?? 0}, got ${objects}`,
      );
    }
    await queries.query(
      `INSERT INTO orphan_permits (objects, until, administrator) VALUES ($1, $2, $3)
       ON CONFLICT (single) DO UPDATE SET objects = $1, until = $2, administrator = $3`,
      [objects, until, administrator],
    );
    await recordAudit(queries, { kind: 'admin.permit_orphans', detail: { administrator, objects, reason } });
  });
}
