import type { KubernetesApi } from '../../../core/kubernetes/api';
import { ENCLAVE_LABEL, USER_ANNOTATION } from '../../../core/kubernetes/objects';
import type { KnativeService, List } from '../../../core/kubernetes/objects';
import type { Enclaves } from './enclaves';

/**
 * Enclaves as Knative Services. They are found by the user that login wrote on them, so the key that makes their names stays with login.
 * Deleting the Service ends its pod and every connection to it.
 */
export function knativeEnclaves(api: KubernetesApi, namespace: string): Enclaves {
  const collection = `/apis/serving.knative.dev/v1/namespaces/${namespace}/services`;
  const labelSelector = Object.entries(ENCLAVE_LABEL).map(([key, value]) => `${key}=${value}`).join(',');
  return {
    async end(user) {
      const { items } = await api.get<List<KnativeService>>(collection, { query: { labelSelector } });
      const own = items.filter(({ metadata }) => metadata.annotations?.[USER_ANNOTATION] === user);
      await Promise.all(own.map(({ metadata }) => api.delete(`${collection}/${metadata.name}`, { uid: metadata.uid })));
    },
  };
}
