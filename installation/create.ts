import { createAuthority } from '../licensing/authority/authority';
import { generateSecondFactorKeys } from '../licensing/second-factor/keys';
import { generateTokenKeys } from '../licensing/tokens/keys';
import { requireNoKeyLost } from './lost-keys';
import type { KeyName, KeyStore } from './store';
import { createTrustKeys } from './trust';

const AUTHORITY_YEARS = 10;
const AUTHORITIES = [
  ['attestation-ca', 'Attestation CA'],
  ['client-ca', 'Client CA'],
] as const;

/**
 * Makes every key of a new installation: authorities, token key, the key of second factors, and what `createTrustKeys` makes. Keys that are there stay.
 * @param replaceLost keys to make anew although the installation has had them
 * @throws KeyStoreError keystore.key_lost where another one is gone that it has had
 */
export async function createAllKeys(
  store: KeyStore,
  { trustDomain, replaceLost = [] }: { trustDomain: string; replaceLost?: readonly KeyName[] },
): Promise<void> {
  await requireNoKeyLost(store, replaceLost);
  for (const [name, commonName] of AUTHORITIES) {
    if ((await store.read(`${name}.key`)) !== undefined && (await store.read(`${name}.crt`)) !== undefined) continue;
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
}
