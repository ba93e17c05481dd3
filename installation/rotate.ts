import type { JWK } from 'jose';
import { MAX_ATTESTATION_KEY_CERTIFICATE_DAYS } from '../licensing/authority/attestation-key';
import { createAuthority } from '../licensing/authority/authority';
import { ACCESS_TOKEN_SECONDS } from '../licensing/tokens/access-token';
import { generateSigningKey } from '../licensing/tokens/keys';
import { MAX_LICENCE_YEARS } from '../attestation/licences/plan';
import { TREE_HEAD_SECONDS } from '../attestation/transparency/tree-head';
import { publicHalf } from '../attestation/trust/public-key';
import { REVOCATIONS_SECONDS } from '../attestation/trust/revocations';
import { KeyStoreError, readRequiredKey } from './store';
import type { KeyName, KeyStore } from './store';
import { publishTrustBundle } from './trust';
import { MAX_CLIENT_CERTIFICATE_SECONDS } from '../licensing/authority/client';
import { readAuthorities } from '../licensing/authority/rotating';
import { dateOf, systemClock } from '../runtime/clock';

/** Clocks of two machines differ by this at most; added to every life. */
const SKEW_SECONDS = 60;
const AUTHORITY_YEARS = 10;

/** What can be replaced, with how long the old one has to be believed after the new one signs, in seconds. */
export const ROTATIONS = {
  'token-key': { life: ACCESS_TOKEN_SECONDS, file: 'token-keys.json' },
  'revocation-key': { life: REVOCATIONS_SECONDS, file: 'revocation-keys.json' },
  // What it signed can be redeemed for as long as a licence lives.
  'licence-key': { life: MAX_LICENCE_YEARS * 366 * 86_400, file: 'licence-keys.json' },
  'log-key': { life: TREE_HEAD_SECONDS, file: 'log-keys.json' },
  'client-ca': { life: MAX_CLIENT_CERTIFICATE_SECONDS, file: 'client-ca', commonName: 'Client CA' },
  'attestation-ca': {
    life: MAX_ATTESTATION_KEY_CERTIFICATE_DAYS * 86_400,
    file: 'attestation-ca',
    commonName: 'Attestation CA',
  },
} as const;

export type Rotation = keyof typeof ROTATIONS;

interface RotateOptions {
  trustDomain: string;
  /** The old key is known to others: it is dropped now, and whatever it signed is worth nothing from now on. */
  compromised?: boolean;
  now?: Date;
}

interface Rotated {
  /** When the new key begins to sign. */
  signsFrom: Date;
  /** Until when the old ones are believed. */
  oldUntil: Date;
  /** Old keys that were dropped: nothing that they signed is alive any more. */
  dropped: number;
}

/**
 * Replaces a key by overlap: the new one is there for everyone to verify with, begins to sign when every program has read it, and the old
 * one is believed until the last thing that it signed has ended. One call does it all; the times are in the files.
 * @throws KeyStoreError
 */
export async function rotate(
  store: KeyStore,
  what: Rotation,
  { trustDomain, compromised = false, now = dateOf(systemClock) }: RotateOptions,
): Promise<Rotated> {
  const { life } = ROTATIONS[what];
  const signsFrom = new Date(now.getTime() + (compromised ? 0 : store.settleSeconds * 1000));
  const times = {
    now,
    signsFrom,
    oldUntil: compromised ? now : new Date(signsFrom.getTime() + (life + SKEW_SECONDS) * 1000),
    compromised,
  };
  const dropped =
    what === 'token-key' || what === 'revocation-key' || what === 'licence-key' || what === 'log-key'
      ? await rotateKeySet(store, ROTATIONS[what].file, times)
      : await rotateAuthority(store, what, trustDomain, times);
  // These are what clients pin.
  if (what === 'attestation-ca' || what === 'revocation-key' || what === 'licence-key' || what === 'log-key')
    await publishTrustBundle(store, {}, { discardEdits: compromised });
  return { signsFrom, oldUntil: times.oldUntil, dropped };
}

interface Times {
  now: Date;
  signsFrom: Date;
  oldUntil: Date;
  compromised: boolean;
}

const seconds = (date: Date): number => Math.floor(date.getTime() / 1000);

async function rotateKeySet(
  store: KeyStore,
  name: KeyName,
  { now, signsFrom, oldUntil, compromised }: Times,
): Promise<number> {
  const text = await readRequiredKey(store, name);
  let old: Array<JWK & { exp?: unknown }>;
  let retired: JWK[];
  try {
    ({ keys: old, retired = [] } = JSON.parse(text) as { keys: JWK[]; retired?: JWK[] });
  } catch {
    throw new KeyStoreError('keystore.malformed', `expected ${name} to hold a JWK Set, got something else`);
  }
  const kept = compromised ? [] : old.filter(({ exp }) => typeof exp !== 'number' || exp > seconds(now));
  const keys = [
    { ...(await generateSigningKey()), nbf: seconds(signsFrom) },
    ...kept.map((key) => ({ ...key, exp: typeof key.exp === 'number' ? key.exp : seconds(oldUntil) })),
  ];
  // The log is compared with its last head also where the key of that is believed no longer: licensing/audit/keys.ts.
  const dropped = old.filter((key) => !kept.includes(key));
  const past =
    name === 'log-keys.json' ? { retired: [...retired, ...(await Promise.all(dropped.map(publicHalf)))] } : {};
  await store.write([[name, JSON.stringify({ keys, ...past })]]);
  return dropped.length;
}

async function rotateAuthority(
  store: KeyStore,
  what: 'client-ca' | 'attestation-ca',
  trustDomain: string,
  times: Times,
): Promise<number> {
  const { commonName, file, life } = ROTATIONS[what];
  const old = readAuthorities(await readRequiredKey(store, `${file}.crt`), await readRequiredKey(store, `${file}.key`));
  // An authority is over when the one after it has signed for a whole life.
  const over = times.now.getTime() - (life + SKEW_SECONDS) * 1000;
  const firstOver = old.findIndex(({ signsFrom }) => signsFrom.getTime() <= over);
  const kept = times.compromised ? [] : firstOver < 0 ? old : old.slice(0, firstOver + 1);
  const fresh = await createAuthority({ commonName, trustDomain, years: AUTHORITY_YEARS, now: times.signsFrom });
  const keys = [fresh.privateKey, ...kept.flatMap(({ privateKey }) => (privateKey === undefined ? [] : [privateKey]))];
  const certificates = [fresh.certificate, ...kept.map(({ certificate }) => certificate)];
  // Keys first: a certificate whose key is not there yet would be an authority that can't sign.
  await store.write([
    [`${file}.key`, keys.map(wholeLines).join('')],
    [`${file}.crt`, certificates.map(wholeLines).join('')],
  ]);
  return old.length - kept.length;
}

/** OpenSSL reads one PEM block after another only where each begins a line. */
function wholeLines(pem: string): string {
  return `${pem.trimEnd()}\n`;
}
