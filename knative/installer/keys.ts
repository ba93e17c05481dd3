import { randomBytes } from 'node:crypto';
import { createAllKeys } from '../../installation/create';
import { KubernetesKeyStore } from '../../installation/kubernetes';
import { withTrustKey } from '../../installation/store';
import type { KeyStore } from '../../installation/store';
import { keyLost } from '../../installation/lost-keys';
import { systemClock } from '../../runtime/clock';
import { find, kubectl } from '../../runtime/kubernetes/kubectl';
import { decodeUtf8 } from '../../runtime/text/utf8';
import type { Installation } from './installation';

export const SERVICES = 'licensing';
export const ATTESTORS = 'licensing-attestor';
const ENCLAVES = 'licensing-enclaves';

interface KeyOptions {
  trustDomain: string;
  /** URL of a PostgreSQL outside; none: the one that the overlay brings. */
  databaseUrl?: string;
  /** Private JWK of an installation whose trust key isn't kept in the cluster. */
  trustKey?: string;
}

type Parts = Record<string, string | Buffer>;

export const clusterKeys = (): KeyStore => new KubernetesKeyStore({ services: SERVICES, enclaves: ENCLAVES });

/**
 * Makes the Secrets of a new installation. A Secret that is there stays as it is: enclaves, tokens and evidence
 * depend on it. One that is gone from an installation is an error. Each program gets its own, so that none reads another's key.
 * @throws KeyStoreError keystore.key_lost
 */
export async function createKeys({ trustDomain, databaseUrl, trustKey }: KeyOptions): Promise<KeyStore> {
  const cluster = clusterKeys();
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
  return store;
}

/** What the programs read, and the file that the next run of the installer begins with. */
export function configMaps({ trustDomain, ekRoots }: Installation, file: string): object[] {
  return [
    configMap('licensing', { trustDomain }),
    configMap('ek-roots', ekRoots),
    configMap('installation', { 'installation.yaml': file }),
  ];
}

/** Of the database that the programs use; undefined where none is installed. */
export async function readDatabaseUrl(): Promise<string | undefined> {
  const secret = await find<{ data?: Record<string, string> }>('secret', SERVICES, 'database');
  const url = secret?.data?.['url'];
  return url === undefined ? undefined : decodeUtf8(Buffer.from(url, 'base64'), 'the Secret database').trim();
}

/** Another database from now on: programs read its URL when they start, so they start anew. */
export async function replaceDatabaseUrl(url: string): Promise<void> {
  await kubectl(['replace', '-f', '-'], secret('database', databaseParts(url)));
  const annotations = { 'licensing/database-since': new Date(systemClock.now()).toISOString() };
  const patch = JSON.stringify({ spec: { template: { metadata: { annotations } } } });
  for (const name of ['signup', 'login', 'enrol', 'admin'])
    await kubectl(['patch', 'ksvc', name, '-n', SERVICES, '--type', 'merge', '-p', patch]);
}

async function createSecret(name: string, make: () => Parts): Promise<void> {
  if (await find('secret', SERVICES, name)) return;
  // create, not apply: an apply would leave a copy of the secret in an annotation.
  await kubectl(['create', '-f', '-'], secret(name, make()));
}

function secret(name: string, parts: Parts): string {
  const data = Object.fromEntries(
    Object.entries(parts).map(([key, value]) => [key, Buffer.from(value).toString('base64')]),
  );
  return JSON.stringify({
    apiVersion: 'v1',
    kind: 'Secret',
    metadata: { name, namespace: SERVICES },
    type: 'Opaque',
    data,
  });
}

function configMap(name: string, data: Record<string, string>): object {
  return { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name, namespace: SERVICES }, data };
}

function databaseParts(url: string | undefined): Parts {
  if (url !== undefined) return { url };
  const password = randomBytes(24).toString('base64url');
  return { url: `postgres://licensing:${password}@postgres.${SERVICES}.svc.cluster.local:5432/licensing`, password };
}
