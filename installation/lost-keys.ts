import { KeyStoreError } from './store';
import type { KeyName, KeyStore } from './store';
import { readPublishedTrust } from './trust';

/** Keys that are never made anew in silence, with what would come of it. */
const KEPT: Partial<Record<KeyName, string>> = {
  'revocation-keys.json': 'clients would refuse revocation lists until they have a new trust bundle',
  'licence-keys.json': 'licence keys that were handed out would no longer verify',
  'log-keys.json': 'heads of the audit log that were handed out would no longer verify',
  'client-ca.key': "clients' certificates would end",
  'attestation-ca.key': 'every node would have to enrol again',
  'token-keys.json': 'access tokens would end',
  'second-factor-keys.json': "users' second factors could not be read any more",
};

/** Names that `sls admin init --replace-lost` takes. */
export const REPLACEABLE_KEYS = Object.keys(KEPT) as KeyName[];

/**
 * Throws where a key is gone that signed or encrypted what is still there: it is to be given back, never made anew in silence. An installation that has
 * published a trust bundle has had them all, except for those that it is older than, as its bundle says. The trust key may be elsewhere:
 * `publishTrustBundle` asks for it when it is needed.
 * @param replace keys that an operator has given up
 * @throws KeyStoreError keystore.key_lost
 */
export async function requireNoKeyLost(store: KeyStore, replace: readonly KeyName[] = []): Promise<void> {
  const published = await readPublishedTrust(store);
  if (published === undefined) return;
  const { licenceKeys, logKeys } = published.bundle;
  const never: KeyName[] = [
    ...(licenceKeys === undefined ? (['licence-keys.json'] as const) : []),
    ...(logKeys === undefined ? (['log-keys.json'] as const) : []),
  ];
  for (const name of REPLACEABLE_KEYS) {
    if (replace.includes(name) || never.includes(name) || (await store.read(name)) !== undefined) continue;
    throw keyLost(name, store.placeOf(name), KEPT[name] ?? '', `sls admin init --replace-lost ${name}`);
  }
}

/**
 * @param place where it has to be
 * @param consequence of making it anew
 * @param remedy the command for a key that is lost for good, where there is one
 */
export function keyLost(name: string, place: string, consequence: string, remedy?: string): KeyStoreError {
  return new KeyStoreError(
    'keystore.key_lost',
    `expected ${name} in ${place}, got none: it is not made anew, because ${consequence}`,
    `give it back from a backup${remedy === undefined ? '' : `; if it is lost for good: ${remedy}`}`,
  );
}
