import { createAuthority } from '../licensing/authority/authority';
import { generateSecondFactorKeys } from '../licensing/second-factor/keys';
import { generateTokenKeys } from '../licensing/tokens/keys';
import type { KeyStore } from './store';
import { createTrustKeys } from './trust';

const AUTHORITY_YEARS = 10;
const AUTHORITIES = [
  ['attestation-ca', 'Attestation CA'],
  ['client-ca', 'Client CA'],
] as const;

/** Makes every key of an installation that isn't there: authorities, token key, the key of second factors, and what `createTrustKeys` makes. Keys that are there stay. */
export async function createAllKeys(store: KeyStore, { trustDomain }: { trustDomain: string }): Promise<void> {
  for (const [name, commonName] of AUTHORITIES) {
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
}
