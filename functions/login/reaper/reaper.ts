import type { KubernetesApi } from '../../../runtime/kubernetes/api';
import { enclaveCollections, enclaveObjects } from '../../../runtime/kubernetes/enclave-objects';
import { ENCLAVE_ANNOTATION, USER_ANNOTATION } from '../../../runtime/kubernetes/objects';
import type { KnativeService, List, ObjectMeta, PersistentVolumeClaim, Pod } from '../../../runtime/kubernetes/objects';
import { LAST_USED_ANNOTATION } from '../launcher/knative-service';
import { enclaveKey } from '../../../attestation/evidence/enclave-name';
import { silent } from '../../../runtime/log/log';
import type { Logger } from '../../../runtime/log/log';

interface ReaperOptions {
  api: KubernetesApi;
  namespace: string;
  unusedMs: number;
  /** Of these users, the ones that have an account. */
  existing(users: string[]): Promise<Set<string>>;
  /** The enclaves of these users that nobody has deleted, as `enclaveKey` has them. */
  registered(users: string[]): Promise<Set<string>>;
  now: Date;
  /** Silent, unless told. */
  log?: Logger;
}

export interface Reaped {
  unused: string[];
  orphaned: string[];
  volumes: string[];
  kept: number;
}

/**
 * Deletes enclaves that nobody logged in to for `unusedMs` and that have no pod now, and what is left over of enclaves and users that were deleted,
 * volumes included. The volume of an enclave that is only unused stays: its user finds the files again.
 * An enclave that a login touches meanwhile is another version of the object, so its deletion is refused.
 * @throws KubernetesError, and what `existing` and `registered` throw: then nothing is deleted
 */
export async function reap(options: ReaperOptions): Promise<Reaped> {
  const { api, namespace, unusedMs, now, log = silent } = options;
  const [serviceCollection, volumeCollection] = [
    enclaveCollections.services(namespace),
    enclaveCollections.volumes(namespace),
  ];
  // Objects before rows: what is made meanwhile has its row first, and is not among these.
  const services = marked((await api.get<List<KnativeService>>(serviceCollection)).items);
  const volumes = marked(await enclaveObjects<PersistentVolumeClaim>(api, volumeCollection));
  const pods = (await api.get<List<Pod>>(`/api/v1/namespaces/${namespace}/pods`)).items;
  const busy = new Set(pods.map(({ metadata }) => metadata.labels?.['serving.knative.dev/service']));
  const isOrphaned = await orphans(options, [...services, ...volumes]);

  const reaped: Reaped = { unused: [], orphaned: [], volumes: [], kept: 0 };
  const remove = async (
    collection: string,
    { name, uid, resourceVersion }: ObjectMeta,
    into: string[],
    same: boolean,
  ): Promise<void> => {
    try {
      await api.delete(`${collection}/${name}`, same ? { uid, resourceVersion } : { uid });
      into.push(name);
    } catch (error) {
      log.warn({ err: error, object: name }, 'not deleted');
      reaped.kept += 1;
    }
  };
  for (const metadata of services) {
    const lastUsed = Date.parse(metadata.annotations?.[LAST_USED_ANNOTATION] ?? metadata.creationTimestamp ?? '');
    const unused = now.getTime() - lastUsed > unusedMs && !busy.has(metadata.name);
    if (isOrphaned(metadata)) await remove(serviceCollection, metadata, reaped.orphaned, false);
    else if (unused) await remove(serviceCollection, metadata, reaped.unused, true);
    else reaped.kept += 1;
  }
  for (const metadata of volumes)
    if (isOrphaned(metadata)) await remove(volumeCollection, metadata, reaped.volumes, false);
  return reaped;
}

/** Those of users' enclaves, unless they are going already. */
function marked(items: Array<{ metadata: ObjectMeta }>): ObjectMeta[] {
  return items
    .map(({ metadata }) => metadata)
    .filter(
      ({ deletionTimestamp, annotations }) =>
        deletionTimestamp === undefined && annotations?.[USER_ANNOTATION] !== undefined,
    );
}

const userOf = ({ annotations }: ObjectMeta): string => annotations?.[USER_ANNOTATION] ?? '';

/** What belongs to nobody any more: its user is gone, or has deleted it. */
async function orphans(
  { existing, registered }: ReaperOptions,
  objects: ObjectMeta[],
): Promise<(metadata: ObjectMeta) => boolean> {
  const users = [...new Set(objects.map(userOf))];
  const [accounts, enclaves] = await Promise.all([existing(users), registered(users)]);
  return (metadata) => {
    const user = userOf(metadata);
    const name = metadata.annotations?.[ENCLAVE_ANNOTATION];
    // One without a name is of before there were names, and is registered at its next login.
    return !accounts.has(user) || (name !== undefined && !enclaves.has(enclaveKey({ user, name })));
  };
}
