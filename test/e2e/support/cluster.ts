import { setTimeout as sleep } from 'node:timers/promises';
import { KubeConfig } from '@kubernetes/client-node';
import { KubernetesApi } from '../../../runtime/kubernetes/api';
import type { KnativeService, List, Pod } from '../../../runtime/kubernetes/objects';
import { apply, kubectl } from '../../../runtime/kubernetes/kubectl';

export { apply, kubectl };
export const SERVICES = 'licensing';
export const ENCLAVES = 'licensing-enclaves';
export const ATTESTOR = 'licensing-attestor';

/** Asks until the answer is there. @throws Error that says what was waited for */
export async function eventually<T>(what: string, ask: () => Promise<T | undefined | false>, seconds = 60): Promise<T> {
  const deadline = Date.now() + seconds * 1000;
  let last: unknown;
  while (Date.now() < deadline) {
    try {
      const answer = await ask();
      if (answer !== undefined && answer !== false) return answer;
    } catch (error) {
      last = error;
    }
    await sleep(250);
  }
  throw new Error(`${what}: not within ${seconds} s`, { cause: last });
}

export async function list<T>(kind: string, namespace: string, ...selector: string[]): Promise<T[]> {
  return (JSON.parse(await kubectl(['get', kind, '-n', namespace, '-o', 'json', ...selector])) as List<T>).items;
}

/** Enclaves and their pods, of one user or of all. */
export const enclaves = async (user?: string): Promise<KnativeService[]> =>
  (await list<KnativeService>('ksvc', ENCLAVES)).filter(
    ({ metadata }) => user === undefined || metadata.annotations?.['licensing/user'] === user,
  );
export const enclavePods = async (user?: string): Promise<Pod[]> =>
  (await list<Pod>('pods', ENCLAVES)).filter(
    ({ metadata }) => user === undefined || metadata.annotations?.['licensing/user'] === user,
  );

/** A service account's token, as its pods get it. */
export async function tokenOf(namespace: string, account: string, ...options: string[]): Promise<string> {
  return (await kubectl(['create', 'token', account, '-n', namespace, ...options])).trim();
}

/** The Kubernetes API with the rights of a service account. */
export async function apiOf(namespace: string, account: string): Promise<KubernetesApi> {
  const config = new KubeConfig();
  config.loadFromDefault();
  const cluster = config.getCurrentCluster();
  if (cluster === null) throw new Error('expected a cluster in KUBECONFIG, got none');
  config.loadFromClusterAndUser(cluster, { name: account, token: await tokenOf(namespace, account) });
  return new KubernetesApi(config);
}

/** Forgets what was counted against the address that all people of these tests share: a crowd comes from many. */
export async function forgetLimits(): Promise<void> {
  const url = Buffer.from(
    await kubectl(['get', 'secret', 'database', '-n', SERVICES, '-o', 'jsonpath={.data.url}']),
    'base64',
  ).toString('utf8');
  if (!url.includes('@postgres.licensing.svc')) return;
  const statement =
    'PGPASSWORD=$POSTGRES_PASSWORD exec psql -h 127.0.0.1 -U licensing -d licensing -c "DELETE FROM limits"';
  await kubectl(['exec', '-n', SERVICES, 'postgres-0', '--', 'sh', '-c', statement]);
}
