import { randomBytes } from 'node:crypto';
import { createAuthority } from '../../licensing/authority/authority';
import { KubernetesKeyStore } from '../../installation/kubernetes';
import type { KeyStore } from '../../installation/store';
import { createTrustKeys } from '../../installation/trust';
import { apply, find, kubectl } from '../../runtime/kubernetes/kubectl';
import { generateSecondFactorKeys } from '../../licensing/second-factor/keys';
import { generateTokenKeys } from '../../licensing/tokens/keys';

export const SERVICES = 'licensing';
const ENCLAVES = 'licensing-enclaves';
const AUTHORITY_YEARS = 10;

interface KeyOptions {
  trustDomain: string;
  /** CA certificates of TPM makers, PEM by file name. */
  ekRoots: Record<string, string>;
  /** URL of a PostgreSQL outside; none: the one that the overlay brings. */
  databaseUrl?: string;
}

type Parts = Record<string, string | Buffer>;

/**
 * Makes the Secrets and ConfigMaps that aren't there. A Secret that is there stays as it is: enclaves, tokens and evidence
 * depend on it. Each program gets its own, so that none reads another's key.
 */
export async function createKeys({ trustDomain, ekRoots, databaseUrl }: KeyOptions): Promise<KeyStore> {
  const store = new KubernetesKeyStore({ services: SERVICES, enclaves: ENCLAVES });
  for (const [name, commonName] of [
    ['client-ca', 'Client CA'],
    ['attestation-ca', 'Attestation CA'],
  ] as const) {
    // The certificate is written last: where it is, the key is too.
    if ((await store.read(`${name}.crt`)) !== undefined) continue;
    const { certificate, privateKey } = await createAuthority({ commonName, trustDomain, years: AUTHORITY_YEARS });
    await store.write([
      [`${name}.key`, privateKey],
      [`${name}.crt`, certificate],
    ]);
  }
  if ((await store.read('token-keys.json')) === undefined)
    await store.write([['token-keys.json', await generateTokenKeys()]]);
  if ((await store.read('second-factor-keys.json')) === undefined)
    await store.write([['second-factor-keys.json', generateSecondFactorKeys()]]);
  await createTrustKeys(store, { trustDomain });
  await createSecret('enrol-seal', () => ({ key: randomBytes(32) }));
  await createSecret('enclave-names', () => ({ key: randomBytes(32) }));
  await createSecret('database', () => databaseParts(databaseUrl));
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
