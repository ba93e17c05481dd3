import type { KubernetesApi } from '../../../runtime/kubernetes/api';
import { KubernetesError } from '../../../runtime/kubernetes/errors';
import type { ConfigMap } from '../../../runtime/kubernetes/objects';
import type { Queries } from '../../../licensing/store/queries';
import { CodedError } from '../../../errors/coded-error';
import { listEnclaveObjects } from './objects';
import { readKnown } from './ownership';

/** Name of the ConfigMap in the enclaves' namespace that says which installation it is of, in `data.id`. */
const BINDING = 'installation';

/** The database at hand isn't this namespace's, as far as can be told. */
class InstallationError extends CodedError<'store.another_installation'> {
  override readonly name = 'InstallationError';

  constructor(message: string) {
    super('store.another_installation', message);
  }
}

interface BindOptions {
  api: KubernetesApi;
  namespace: string;
  database: Queries;
  /** Id of the database's installation. */
  installation: string;
  /** At the first binding: the users of so large a share of the objects may be unknown, 0 to 1. */
  orphanShare: number;
}

/**
 * Returns only where the namespace belongs to the database's installation. A namespace that belongs to none yet is bound to it, once: if the database
 * knows the users whose enclaves are there.
 * @throws InstallationError `store.another_installation`; KubernetesError
 */
export async function requireBound(options: BindOptions): Promise<void> {
  const { api, namespace, installation } = options;
  const path = `/api/v1/namespaces/${namespace}/configmaps/${BINDING}`;
  let bound = await api.find<ConfigMap>(path);
  if (bound === undefined) {
    await requireFamiliar(options);
    bound = await create(api, namespace, installation).catch((error: unknown) => {
      // Another one was faster.
      if (error instanceof KubernetesError && error.status === 409) return api.get<ConfigMap>(path);
      throw error;
    });
  }
  const id = bound.data?.['id'];
  if (id === installation) return;
  throw new InstallationError(
    `expected the database of installation ${id ?? 'unknown'}, to which the namespace ${namespace} is bound, got that of ${installation}: nothing is deleted. ` +
      `If this database is the right one: kubectl delete configmap ${BINDING} -n ${namespace}`,
  );
}

const create = (api: KubernetesApi, namespace: string, id: string): Promise<ConfigMap> =>
  api.create<ConfigMap>(`/api/v1/namespaces/${namespace}/configmaps`, {
    apiVersion: 'v1',
    kind: 'ConfigMap',
    metadata: { name: BINDING, namespace },
    data: { id },
    immutable: true,
  });

async function requireFamiliar({ api, namespace, database, installation, orphanShare }: BindOptions): Promise<void> {
  const { services, volumes, foreign } = await listEnclaveObjects(api, namespace, installation);
  const users = [...new Set([...services, ...volumes].map(({ user }) => user))];
  const { accounts, deletedUsers } = await readKnown(database, users);
  const unknown = users.filter((user) => !accounts.has(user) && !deletedUsers.has(user));
  const few = Math.max(Math.min(1, users.length - 1), Math.floor(users.length * orphanShare));
  if (foreign.length === 0 && unknown.length <= few) return;
  throw new InstallationError(
    `expected a database that knows the ${users.length} users whose enclaves are in the namespace ${namespace}, got one that doesn't know ${unknown.length} of them` +
      `${foreign.length > 0 ? `, and ${foreign.length} objects of another installation` : ''}: nothing is deleted. ` +
      `If it is the right one: kubectl create configmap ${BINDING} -n ${namespace} --from-literal=id=${installation}`,
  );
}
