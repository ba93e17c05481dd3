import { isDeepStrictEqual } from 'node:util';
import { decodeJwt } from 'jose';
import type { JWK } from 'jose';
import { createAuthority } from '../licensing/authority/authority';
import { splitCertificates } from '../attestation/certificates/pem';
import { generateSigningKey } from '../licensing/tokens/keys';
import { withUnknown } from '../attestation/documents/understood';
import { parseTrustBundle, serializeTrustBundle, TrustBundleError } from '../attestation/trust/bundle';
import type { TrustBundle } from '../attestation/trust/bundle';
import { isSameKey, publicHalf } from '../attestation/trust/public-key';
import type { PublicKey } from '../attestation/trust/public-key';
import { readSignedBundle, signTrustBundle } from '../attestation/trust/signed-bundle';
import type { SignedTrust } from '../attestation/trust/signed-bundle';
import { KeyStoreError, readRequiredKey } from './store';
import type { KeyStore } from './store';

const ADMIN_CA_YEARS = 10;

/**
 * Makes what is missing of the keys behind trust itself: trust key, revocation keys, licence keys, log keys, admin CA. Keys that are there stay, and so
 * does a trust key that is elsewhere: where it has signed a bundle, another one would have every client refuse the installation.
 */
export async function createTrustKeys(store: KeyStore, { trustDomain }: { trustDomain: string }): Promise<void> {
  if ((await store.read('trust-key.json')) === undefined && (await store.read('trust-bundle.jws')) === undefined) {
    await store.write([['trust-key.json', JSON.stringify(await generateSigningKey())]]);
  }
  for (const name of ['revocation-keys.json', 'licence-keys.json'] as const) {
    if ((await store.read(name)) === undefined)
      await store.write([[name, JSON.stringify({ keys: [await generateSigningKey()] })]]);
  }
  if ((await store.read('log-keys.json')) === undefined) {
    // Where one was lost, the log goes on by what it signed: licensing/audit/keys.ts.
    const retired = (await readPublishedTrust(store))?.bundle.logKeys?.keys ?? [];
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

interface PublishOptions {
  /** Writes over a plain bundle that somebody edited. */
  discardEdits?: boolean;
  /** The next bundle as the trust key signed it elsewhere, compact JWS: published where it says what is to be published. */
  signed?: string;
}

/** The bundle has to be signed anew, and the trust key isn't in the key store. */
export class TrustKeyAwayError extends KeyStoreError {
  constructor(
    /** What is to be signed, as `serializeTrustBundle` writes it. */
    readonly unsigned: string,
    place: string,
  ) {
    super(
      'keystore.trust_key_away',
      `the trust bundle changes and has to be signed anew: expected trust-key.json in ${place}, got none`,
      'give the trust key for this once (--trust-key-file), or have the bundle signed where the key is: sls admin trust-bundle sign --help',
    );
  }
}

/**
 * Signs the trust bundle anew from the keys that are there, and writes a plain copy of it for people to read. Policy and services are those of the signed
 * bundle before unless `choices` says otherwise: the plain one decides nothing, because whoever can write to it need not have the trust key.
 * The sequence grows when anything changed; when nothing did, the signed bundle stays as it is.
 * @throws KeyStoreError, among them keystore.edited: the plain bundle was edited and would be written over; TrustBundleError
 */
export async function publishTrustBundle(
  store: KeyStore,
  choices: Partial<TrustChoices> = {},
  { discardEdits = false, signed }: PublishOptions = {},
): Promise<TrustBundle> {
  const published = await readPublishedTrust(store);
  const before = published?.bundle;
  if (published && !discardEdits) await refuseEdited(store, published);
  const trustKey = await readTrustKey(store);
  const understood: TrustBundle = {
    version: 1,
    ...(before?.critical && { critical: before.critical }),
    sequence: before?.sequence ?? 0,
    trustDomain: choices.trustDomain ?? before?.trustDomain ?? missing('trust domain'),
    trustKey: trustKey === undefined ? (before?.trustKey ?? missing('trust key')) : await publicHalf(trustKey),
    revocationKeys: {
      keys: await publicHalves(await readRequiredKey(store, 'revocation-keys.json'), 'revocation-keys.json'),
    },
    ...(await licenceKeys(store)),
    ...(await logKeys(store)),
    attestationRoots: splitCertificates(await readRequiredKey(store, 'attestation-ca.crt')),
    serverRoots: splitCertificates((await store.read('server-ca.crt')) ?? ''),
    services: choices.services ?? before?.services ?? missing('services'),
    policy: choices.policy ?? before?.policy ?? missing('policy'),
  };
  // What a newer release added stays, though this one doesn't know it.
  const next = withUnknown(understood, published && decodeJwt(published.signed), before);
  // One sequence has one signed form: clients refuse two.
  const isSame = published !== undefined && isSameBundle(published.bundle, next);
  if (!isSame) next.sequence += 1;
  await store.write([
    ['trust-bundle.jws', isSame ? published.signed : await sign(next, trustKey, signed, store)],
    ['trust-bundle.json', serializeTrustBundle(next)],
  ]);
  return next;
}

async function sign(
  next: TrustBundle,
  trustKey: JWK | undefined,
  signed: string | undefined,
  store: KeyStore,
): Promise<string> {
  // Signed by the very key of `next`, because that is part of what is the same.
  if (signed !== undefined && isSameBundle(await readSignedBundle(signed), next)) return signed.trim();
  if (trustKey !== undefined) return signTrustBundle(next, trustKey);
  throw new TrustKeyAwayError(serializeTrustBundle(next), store.placeOf('trust-key.json'));
}

/**
 * Signs a bundle as `publishTrustBundle` asked for it, away from the installation.
 * @param unsigned as TrustKeyAwayError has it
 * @param trustKey private JWK
 * @throws TrustBundleError; KeyStoreError keystore.malformed where the key isn't the bundle's
 */
export async function signTrustBundleOffline(unsigned: string, trustKey: string): Promise<SignedTrust> {
  const understood = parseTrustBundle(unsigned);
  const bundle = withUnknown(understood, JSON.parse(unsigned), understood);
  const key = parseKey(trustKey, 'the trust key');
  if (!isSameKey(await publicHalf(key), bundle.trustKey))
    throw new KeyStoreError('keystore.malformed', 'expected the trust key that the bundle names, got another one');
  return { bundle, signed: await signTrustBundle(bundle, key) };
}

/** Undefined where the operator keeps it elsewhere. */
async function readTrustKey(store: KeyStore): Promise<JWK | undefined> {
  const text = await store.read('trust-key.json');
  return text === undefined ? undefined : parseKey(text, 'trust-key.json');
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

/**
 * The bundle that the installation published last, by its own trust key. Where that is elsewhere, by the key that the bundle names.
 * @throws KeyStoreError keystore.malformed where it can't be read, or another key signed it
 */
export async function readPublishedTrust(store: KeyStore): Promise<SignedTrust | undefined> {
  const signed = (await store.read('trust-bundle.jws'))?.trim();
  if (signed === undefined) return undefined;
  try {
    const bundle = await readSignedBundle(signed);
    const own = await readTrustKey(store);
    if (own !== undefined && !isSameKey(bundle.trustKey, await publicHalf(own)))
      throw new TypeError('expected it to be signed by trust-key.json');
    return { bundle, signed };
  } catch (cause) {
    if (cause instanceof KeyStoreError) throw cause;
    throw new KeyStoreError(
      'keystore.malformed',
      `trust-bundle.jws in the key store can't be verified: ${(cause as Error).message}`,
      'give back the trust key or the bundle that was there',
      { cause },
    );
  }
}

/** An edit that nobody takes should be heard of, not written over. One of an earlier sequence is what a crash left. */
async function refuseEdited(store: KeyStore, { bundle: published, signed }: SignedTrust): Promise<void> {
  const plain = await store.read('trust-bundle.json');
  if (plain === undefined) return;
  let edited: TrustBundle | undefined;
  try {
    edited = parseTrustBundle(plain);
    // Of a newer release, all that is in it.
    if (edited.sequence < published.sequence || isDeepStrictEqual(JSON.parse(plain), decodeJwt(signed))) return;
  } catch (error) {
    if (!(error instanceof TrustBundleError)) throw error;
  }
  throw new KeyStoreError(
    'keystore.edited',
    'trust-bundle.json was edited, and is only there for reading: what counts is the signed bundle',
    'to sign its policy and services: sls admin trust-bundle export --edited FILE, with a copy of it; to drop the edit, remove it',
  );
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
