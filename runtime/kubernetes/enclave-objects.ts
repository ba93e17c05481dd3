import type { KubernetesApi } from './api';
import { ENCLAVE_LABEL, USER_ANNOTATION } from './objects';
import type { List, ObjectMeta } from './objects';

/** What enclaves are made of, as collections of a namespace. */
export const enclaveCollections = {
  services: (namespace: string): string => `/apis/serving.knative.dev/v1/namespaces/${namespace}/services`,
  volumes: (namespace: string): string => `/api/v1/namespaces/${namespace}/persistentvolumeclaims`,
};

const labelSelector = Object.entries(ENCLAVE_LABEL)
  .map(([key, value]) => `${key}=${value}`)
  .join(',');

/** Every object of a collection that is marked as an enclave's. @throws KubernetesError */
export async function enclaveObjects<T extends { metadata: ObjectMeta }>(
  api: KubernetesApi,
  collection: string,
): Promise<T[]> {
  return (await api.get<List<T>>(collection, { query: { labelSelector } })).items;
}

/**
 * Deletes a user's objects of these collections, one collection after the other. They are found by the user that login wrote on them, so the key that
 * makes their names stays with login.
 * @throws KubernetesError: some may be left, and another try finds them
 */
export async function deleteObjectsOf(api: KubernetesApi, user: string, collections: string[]): Promise<void> {
  for (const collection of collections) {
    const own = (await enclaveObjects(api, collection)).filter(
      ({ metadata }) => metadata.annotations?.[USER_ANNOTATION] === user,
    );
    await Promise.all(own.map(({ metadata }) => api.delete(`${collection}/${metadata.name}`, { uid: metadata.uid })));
  }
}
