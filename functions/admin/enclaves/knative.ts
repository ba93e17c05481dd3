import type { KubernetesApi } from '../../../runtime/kubernetes/api';
import { deleteObjectsOf, enclaveCollections } from '../../../runtime/kubernetes/enclave-objects';
import type { Enclaves } from './enclaves';

/** Enclaves as Knative Services. Deleting the Service ends its pod and every connection to it; volumes stay until they are removed as well. */
export function knativeEnclaves(api: KubernetesApi, namespace: string): Enclaves {
  const services = enclaveCollections.services(namespace);
  return {
    end: (user) => deleteObjectsOf(api, user, [services]),
    remove: (user) => deleteObjectsOf(api, user, [services, enclaveCollections.volumes(namespace)]),
  };
}
