import { findOrphanPermit, markOrphans, noteOrphanDeleted, usePermit } from '../../../licensing/enclaves/orphans';
import type { MarkedOrphan } from '../../../licensing/enclaves/orphans';
import type { Database } from '../../../licensing/store/database';
import { silent } from '../../../runtime/log/log';
import type { Logger } from '../../../runtime/log/log';
import type { KubernetesApi } from '../../../runtime/kubernetes/api';
import { LAST_USED_ANNOTATION } from '../launcher/knative-service';
import { listEnclaveObjects } from './objects';
import type { EnclaveObject } from './objects';
import { ownershipOf, readKnown } from './ownership';
import type { Ownership } from './ownership';

interface ReaperOptions {
  api: KubernetesApi;
  namespace: string;
  database: Database;
  /** Id of the database's installation, which `requireBound` has compared with the namespace's. */
  installation: string;
  unusedMs: number;
  /** How long what no row speaks for is marked before it is deleted, ms. */
  orphanMs: number;
  /** So much of all objects may be deleted as orphans at once without an administrator's word, 0 to 1. */
  orphanShare: number;
  now: Date;
  /** Silent, unless told. */
  log?: Logger;
}

/** Names of objects. */
export interface Reaped {
  unused: string[];
  /** What their users, or administrators, have deleted. */
  deleted: string[];
  orphaned: string[];
  /** Orphans that are marked and stay: they are not old enough, in use, or too many at once. */
  marked: string[];
  /** Of another installation. */
  foreign: string[];
  kept: number;
  /** Too many orphans are due at once: nothing of them goes before an administrator says so. */
  held: boolean;
}

/** So many orphans may always go: one enclave's Service and its volume. */
const FEW_ORPHANS = 2;

/**
 * Deletes enclaves that nobody logged in to for `unusedMs` and that have no pod now, and what is left over of enclaves and users that were deleted,
 * volumes included. The volume of an enclave that is only unused stays: its user finds the files again.
 *
 * What no row speaks for is an orphan. It is marked first and deleted when it has been one for `orphanMs` without a break: rows that were lost may come
 * back. None is deleted while a pod runs it or has it mounted; of more than `orphanShare` at once none is deleted without an administrator's permit.
 *
 * An enclave that a login touches meanwhile is another version of the object, so its deletion is refused.
 * @throws KubernetesError, and what the database throws: what was decided before is done, the rest isn't
 */
export async function reap(options: ReaperOptions): Promise<Reaped> {
  const { api, namespace, database, installation, unusedMs, now, log = silent } = options;
  // Objects before rows: what is made meanwhile has its row first, and is not among these.
  const { services, volumes, foreign } = await listEnclaveObjects(api, namespace, installation);
  const objects = [...services, ...volumes];
  const known = await readKnown(database, [...new Set(objects.map(({ user }) => user))]);
  const of = (ownership: Ownership, among: EnclaveObject[]): EnclaveObject[] =>
    among.filter((object) => ownershipOf(known, object) === ownership);

  const reaped: Reaped = { unused: [], deleted: [], orphaned: [], marked: [], foreign, kept: 0, held: false };
  const remove = async ({ path, metadata }: EnclaveObject, into: string[], asSeen: boolean): Promise<boolean> => {
    const { name, uid, resourceVersion } = metadata;
    try {
      await api.delete(path, asSeen ? { uid, resourceVersion } : { uid });
      into.push(name);
      return true;
    } catch (error) {
      log.warn({ err: error, object: name }, 'not deleted');
      reaped.kept += 1;
      return false;
    }
  };

  for (const object of of('deleted', objects)) await remove(object, reaped.deleted, false);
  for (const service of of('owned', services)) {
    const { annotations, creationTimestamp } = service.metadata;
    const lastUsed = Date.parse(annotations?.[LAST_USED_ANNOTATION] ?? creationTimestamp ?? '');
    if (now.getTime() - lastUsed > unusedMs && !service.busy) await remove(service, reaped.unused, true);
    else reaped.kept += 1;
  }

  const { due, marked, held } = await judgeOrphans(options, of('orphaned', objects), objects.length);
  for (const object of due) {
    if (await remove(object, reaped.orphaned, true)) await noteOrphanDeleted(database, asOrphan(object));
  }
  if (foreign.length > 0) log.warn({ objects: foreign }, 'objects of another installation are left alone');
  return { ...reaped, marked: marked.map(({ object }) => object), held };
}

const asOrphan = ({ metadata, kind, user, enclave }: EnclaveObject) => ({
  uid: metadata.uid ?? '',
  kind,
  object: metadata.name,
  user,
  enclave,
});

interface Judged {
  due: EnclaveObject[];
  marked: MarkedOrphan[];
  held: boolean;
}

/** Marks them, and says which of them are due. */
async function judgeOrphans(
  { database, orphanMs, orphanShare, now, log = silent }: ReaperOptions,
  orphans: EnclaveObject[],
  objects: number,
): Promise<Judged> {
  const marks = await markOrphans(database, orphans.map(asOrphan), now);
  const since = new Map(marks.map((mark) => [mark.uid, mark.since.getTime()]));
  const due = orphans.filter(
    ({ metadata, busy }) => !busy && now.getTime() - (since.get(metadata.uid ?? '') ?? Infinity) >= orphanMs,
  );
  const stay = (those: EnclaveObject[]): MarkedOrphan[] =>
    marks.filter(({ uid }) => !those.some(({ metadata }) => metadata.uid === uid));
  const few = Math.max(FEW_ORPHANS, Math.floor(objects * orphanShare));
  if (due.length <= few) return { due, marked: stay(due), held: false };

  const permit = await findOrphanPermit(database, now);
  if (permit !== undefined && due.length <= permit.objects) {
    await usePermit(database);
    log.info({ administrator: permit.administrator, objects: due.length }, 'orphans are deleted by permit');
    return { due, marked: stay(due), held: false };
  }
  log.error(
    { due: due.length, expected: few, objects },
    'expected a small share of orphans, got more: nothing of them is deleted before an administrator permits it (sls admin orphans)',
  );
  return { due: [], marked: marks, held: true };
}
