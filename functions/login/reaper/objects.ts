import type { KubernetesApi } from '../../../runtime/kubernetes/api';
import { enclaveCollections, enclaveObjects } from '../../../runtime/kubernetes/enclave-objects';
import { ENCLAVE_ANNOTATION, INSTALLATION_ANNOTATION, USER_ANNOTATION } from '../../../runtime/kubernetes/objects';
import type { KnativeService, List, ObjectMeta, PersistentVolumeClaim, Pod } from '../../../runtime/kubernetes/objects';
import type { Owner } from './ownership';

/** One of the two kinds of objects that an enclave is made of. */
export interface EnclaveObject extends Owner {
  kind: 'Service' | 'PersistentVolumeClaim';
  path: string;
  metadata: ObjectMeta;
  /** A pod runs it, or has it mounted. */
  busy: boolean;
}

/** What there is in the namespace, without what is going already and what another installation has made. */
interface EnclaveObjects {
  services: EnclaveObject[];
  volumes: EnclaveObject[];
  /** Names of objects that carry the id of another installation. */
  foreign: string[];
}

/** @throws KubernetesError */
export async function listEnclaveObjects(
  api: KubernetesApi,
  namespace: string,
  installation: string,
): Promise<EnclaveObjects> {
  const collections = {
    Service: enclaveCollections.services(namespace),
    PersistentVolumeClaim: enclaveCollections.volumes(namespace),
  };
  const services = (await api.get<List<KnativeService>>(collections.Service)).items;
  const volumes = await enclaveObjects<PersistentVolumeClaim>(api, collections.PersistentVolumeClaim);
  // Pods last: one that starts meanwhile is seen.
  const pods = (await api.get<List<Pod>>(`/api/v1/namespaces/${namespace}/pods`)).items;
  const running = new Set(pods.map(({ metadata }) => metadata.labels?.['serving.knative.dev/service']));
  const mounted = new Set(
    pods.flatMap(({ spec }) => spec?.volumes ?? []).map((volume) => volume.persistentVolumeClaim?.claimName),
  );

  const foreign: string[] = [];
  const own = (kind: EnclaveObject['kind'], items: Array<{ metadata: ObjectMeta }>): EnclaveObject[] =>
    items.flatMap(({ metadata }) => {
      const { name, deletionTimestamp, annotations = {} } = metadata;
      const user = annotations[USER_ANNOTATION];
      if (deletionTimestamp !== undefined || user === undefined) return [];
      const maker = annotations[INSTALLATION_ANNOTATION];
      if (maker !== undefined && maker !== installation) {
        foreign.push(name);
        return [];
      }
      const busy = running.has(name) || mounted.has(name);
      const path = `${collections[kind]}/${name}`;
      return [{ kind, path, metadata, busy, user, enclave: annotations[ENCLAVE_ANNOTATION] }];
    });
  return { services: own('Service', services), volumes: own('PersistentVolumeClaim', volumes), foreign };
}
