import type { JWK } from 'jose';
import { createAuthority } from '../licensing/authority/authority';
import { splitCertificates } from '../attestation/certificates/pem';
import { generateSigningKey } from '../licensing/tokens/keys';
import { parseTrustBundle, serializeTrustBundle } from '../attestation/trust/bundle';
import type { TrustBundle } from '../attestation/trust/bundle';
import { publicHalf } from '../attestation/trust/public-key';
import type { PublicKey } from '../attestation/trust/public-key';
import { readSignedBundle, signTrustBundle } from '../attestation/trust/signed-bundle';
import { KeyStoreError, need } from './store';
import type { KeyStore } from './store';

const ADMIN_CA_YEARS = 10;

/** Makes what is missing of the keys behind trust itself: trust key, revocation keys, licence keys, log keys, admin CA. Keys that are there stay. */
export async function createTrustKeys(store: KeyStore, { trustDomain }: { trustDomain: string }): Promise<void> {
  if ((await store.read('trust-key.json')) === undefined) {
    await store.write([['trust-key.json', JSON.stringify(await generateSigningKey())]]);
  }
  for (const name of ['revocation-keys.json', 'licence-keys.json'] as const) {
    if ((await store.read(name)) === undefined)
      await store.write([[name, JSON.stringify({ keys: [await generateSigningKey()] })]]);
  }
  if ((await store.read('log-keys.json')) === undefined) {
    // Where one was lost, the log goes on by what it signed: licensing/audit/keys.ts.
    const retired = (await readSigned(store))?.logKeys?.keys ?? [];
    await store.write([['log-keys.json', JSON.stringify({ keys: [await generateSigningKey()], retired })]]);
  }
  if ((await store.read('admin-ca.crt')) === undefined) {
    const authority = await createAuthority({ commonName: 'Administration CA', trustDomain, years: ADMIN_CA_YEARS });
    await store.write([
      ['admin-ca.key', authority.privateKey],
      ['admin-ca.crt', authority.certificate],
    ]);
  }
}

/** What an installation says about itself in its trust bundle; the keys come from its key store. */
type TrustChoices = Pick<TrustBundle, 'trustDomain' | 'services' | 'policy'>;

/**
 * Writes the trust bundle anew, signed and plain, from the keys that are there. The plain one is the operator's to edit: its policy and its
 * services stay unless `choices` says otherwise. The sequence grows when anything changed since the last signature.
 * @throws KeyStoreError, TrustBundleError
 */
export async function publishTrustBundle(store: KeyStore, choices: Partial<TrustChoices> = {}): Promise<TrustBundle> {
  const plain = await store.read('trust-bundle.json');
  const signed = await readSigned(store);
  const before = plain === undefined ? signed : parseTrustBundle(plain);
  const trustKey = parseKey(await need(store, 'trust-key.json'), 'trust-key.json');
  const next: TrustBundle = {
    version: 1,
    sequence: Math.max(before?.sequence ?? 0, signed?.sequence ?? 0),
    trustDomain: choices.trustDomain ?? before?.trustDomain ?? missing('trust domain'),
    trustKey: await publicHalf(trustKey),
    revocationKeys: { keys: await publicHalves(await need(store, 'revocation-keys.json'), 'revocation-keys.json') },
    ...(await licenceKeys(store)),
    ...(await logKeys(store)),
    attestationRoots: splitCertificates(await need(store, 'attestation-ca.crt')),
    serverRoots: splitCertificates((await store.read('server-ca.crt')) ?? ''),
    services: choices.services ?? before?.services ?? missing('services'),
    policy: choices.policy ?? before?.policy ?? missing('policy'),
  };
  if (signed === undefined || !isSameBundle(signed, next)) next.sequence += 1;
  await store.write([
    ['trust-bundle.jws', await signTrustBundle(next, trustKey)],
    ['trust-bundle.json', serializeTrustBundle(next)],
  ]);
  return next;
}

/** An installation of before there were licences has none until its keys are made again. */
async function licenceKeys(store: KeyStore): Promise<Pick<TrustBundle, 'licenceKeys'>> {
  const text = await store.read('licence-keys.json');
  return text === undefined ? {} : { licenceKeys: { keys: await publicHalves(text, 'licence-keys.json') } };
}

/** None in an installation of before the audit log. */
async function logKeys(store: KeyStore): Promise<Pick<TrustBundle, 'logKeys'>> {
  const text = await store.read('log-keys.json');
  return text === undefined ? {} : { logKeys: { keys: await publicHalves(text, 'log-keys.json') } };
}

async function readSigned(store: KeyStore): Promise<TrustBundle | undefined> {
  const jws = await store.read('trust-bundle.jws');
  if (jws === undefined) return undefined;
  try {
    return await readSignedBundle(jws.trim());
  } catch (cause) {
    throw new KeyStoreError('keystore.malformed', 'trust-bundle.jws in the key store can not be read', undefined, {
      cause,
    });
  }
}

/** By content: parsing puts the fields into one order. */
function isSameBundle(a: TrustBundle, b: TrustBundle): boolean {
  return (
    serializeTrustBundle(parseTrustBundle(JSON.stringify(a))) ===
    serializeTrustBundle(parseTrustBundle(JSON.stringify(b)))
  );
}

function missing(what: string): never {
  throw new KeyStoreError('keystore.missing', `expected a trust bundle with ${what} in the key store, got none`);
}

function parseKey(text: string, name: string): JWK {
  try {
    return JSON.parse(text) as JWK;
  } catch {
    // The parser's message quotes the text.
    throw new KeyStoreError('keystore.malformed', `expected ${name} to hold a JWK, got something else`);
  }
}

async function publicHalves(text: string, name: string): Promise<PublicKey[]> {
  const { keys } = parseKey(text, name) as { keys?: JWK[] };
  if (!Array.isArray(keys))
    throw new KeyStoreError('keystore.malformed', `expected ${name} to hold a JWK Set, got something else`);
  return Promise.all(keys.map(publicHalf));
}
