import { randomBytes } from 'node:crypto';
import { createAllKeys } from '../../installation/create';
import { KubernetesKeyStore } from '../../installation/kubernetes';
import { withTrustKey } from '../../installation/store';
import type { KeyStore } from '../../installation/store';
import { keyLost } from '../../installation/lost-keys';
import { apply, find, kubectl } from '../../runtime/kubernetes/kubectl';

export const SERVICES = 'licensing';
const ENCLAVES = 'licensing-enclaves';

interface KeyOptions {
  trustDomain: string;
  /** CA certificates of TPM makers, PEM by file name. */
  ekRoots: Record<string, string>;
  /** URL of a PostgreSQL outside; none: the one that the overlay brings. */
  databaseUrl?: string;
  /** Private JWK of an installation whose trust key isn't kept in the cluster. */
  trustKey?: string;
}

type Parts = Record<string, string | Buffer>;

/**
 * Makes the Secrets and ConfigMaps of a new installation. A Secret that is there stays as it is: enclaves, tokens and evidence
 * depend on it. One that is gone from an installation is an error. Each program gets its own, so that none reads another's key.
 * @throws KeyStoreError keystore.key_lost
 */
export async function createKeys({ trustDomain, ekRoots, databaseUrl, trustKey }: KeyOptions): Promise<KeyStore> {
  const cluster = new KubernetesKeyStore({ services: SERVICES, enclaves: ENCLAVES });
  const store = trustKey === undefined ? cluster : withTrustKey(cluster, trustKey);
  const isInstalled = (await store.read('trust-bundle.jws')) !== undefined;
  const lost = (name: string, consequence: string): void => {
    if (isInstalled) throw keyLost(name, `the namespace ${SERVICES}`, consequence);
  };
  await createAllKeys(store, { trustDomain });
  await createSecret('enrol-seal', () => ({ key: randomBytes(32) }));
  await createSecret('enclave-names', () => {
    lost('the Secret enclave-names', 'every user would get new enclaves with empty volumes');
    return { key: randomBytes(32) };
  });
  await createSecret('database', () => {
    if (databaseUrl === undefined) lost('the Secret database', 'it holds the password of the database that is there');
    return databaseParts(databaseUrl);
  });
  await apply([configMap('licensing', { trustDomain }), configMap('ek-roots', ekRoots)]);
  return store;
}

async function createSecret(name: string, make: () => Parts): Promise<void> {
  if (await find('secret', SERVICES, name)) return;
  const data = Object.fromEntries(
    Object.entries(make()).map(([key, value]) => [key, Buffer.from(value).toString('base64')]),
  );
  // create, not apply: an apply would leave a copy of the secret in an annotation.
  await kubectl(
    ['create', '-f', '-'],
    JSON.stringify({ apiVersion: 'v1', kind: 'Secret', metadata: { name, namespace: SERVICES }, type: 'Opaque', data }),
  );
}

function configMap(name: string, data: Record<string, string>): object {
  return { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name, namespace: SERVICES }, data };
}

function databaseParts(url: string | undefined): Parts {
  if (url !== undefined) return { url };
  const password = randomBytes(24).toString('base64url');
  return { url: `postgres://licensing:${password}@postgres.${SERVICES}.svc.cluster.local:5432/licensing`, password };
}
