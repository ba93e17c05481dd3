import type { KubernetesApi } from '../../../core/kubernetes/api';
import { USER_ANNOTATION } from '../../../core/kubernetes/objects';
import type { KnativeService, List, Pod } from '../../../core/kubernetes/objects';
import { logger } from '../../../core/log/logger';
import { LAST_USED_ANNOTATION } from '../launcher/knative-service';

export interface ReaperOptions {
  api: KubernetesApi;
  namespace: string;
  unusedMs: number;
  /** Of these user ids, the ones that have an account. */
  existing(users: string[]): Promise<Set<string>>;
  now: Date;
}

export interface Reaped {
  unused: string[];
  orphaned: string[];
  kept: number;
}

/**
 * Deletes enclaves that nobody logged in to for `unusedMs` and that have no pod now, and enclaves of users without an account.
 * An enclave that a login touches meanwhile is another version of the object, so its deletion is refused.
 * @throws KubernetesError, and what `existing` throws: then nothing is deleted
 */
export async function reap({ api, namespace, unusedMs, existing, now }: ReaperOptions): Promise<Reaped> {
  const collection = `/apis/serving.knative.dev/v1/namespaces/${namespace}/services`;
  const services = (await api.get<List<KnativeService>>(collection)).items.filter(
    ({ metadata }) => metadata.deletionTimestamp === undefined && metadata.annotations?.[USER_ANNOTATION] !== undefined,
  );
  const pods = (await api.get<List<Pod>>(`/api/v1/namespaces/${namespace}/pods`)).items;
  const busy = new Set(pods.map(({ metadata }) => metadata.labels?.['serving.knative.dev/service']));
  const users = await existing(services.map(({ metadata }) => metadata.annotations?.[USER_ANNOTATION] ?? ''));

  const reaped: Reaped = { unused: [], orphaned: [], kept: 0 };
  for (const { metadata } of services) {
    const orphaned = !users.has(metadata.annotations?.[USER_ANNOTATION] ?? '');
    const lastUsed = Date.parse(metadata.annotations?.[LAST_USED_ANNOTATION] ?? metadata.creationTimestamp ?? '');
    const unused = now.getTime() - lastUsed > unusedMs && !busy.has(metadata.name);
    if (!orphaned && !unused) {
      reaped.kept += 1;
      continue;
    }
    const { uid, resourceVersion } = metadata;
    try {
      await api.delete(`${collection}/${metadata.name}`, orphaned ? { uid } : { uid, resourceVersion });
      (orphaned ? reaped.orphaned : reaped.unused).push(metadata.name);
    } catch (error) {
      logger.warn({ err: error, enclave: metadata.name }, 'not deleted');
      reaped.kept += 1;
    }
  }
  return reaped;
}
