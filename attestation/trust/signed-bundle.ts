import { compactVerify, CompactSign, decodeJwt, decodeProtectedHeader, importJWK } from 'jose';
import type { JWK } from 'jose';
import { parseTrustBundle, readTrustBundle, requireUnderstood, serializeTrustBundle, TrustBundleError } from './bundle';
import type { TrustBundle } from './bundle';
import { fingerprint, isSameKey, publicHalf } from './public-key';
import { CodedError } from '../../errors/coded-error';
import type { TrustCode } from '../../errors/verifier';

/** `typ` of a signed trust bundle (RFC 8725, 3.11). */
export const TRUST_BUNDLE_TYPE = 'sls-trust-bundle+jwt';
/** A bundle with a dozen roots and golden boot states takes a tenth of this. */
const MAX_LENGTH = 512 * 1024;

/** A signed trust bundle was refused. `code` is stable. */
export class TrustError extends CodedError<TrustCode> {
  override readonly name = 'TrustError';
}

/**
 * Signs a bundle with its own trust key (RFC 7515, compact).
 * @param privateKey the private JWK of `bundle.trustKey`
 * @throws TypeError when it is another one
 */
export async function signTrustBundle(bundle: TrustBundle, privateKey: JWK): Promise<string> {
  const signer = await publicHalf(privateKey);
  if (!isSameKey(signer, bundle.trustKey))
    throw new TypeError("expected the private key of the bundle's trust key, got another one");
  const payload = Buffer.from(serializeTrustBundle(bundle), 'utf8');
  return new CompactSign(payload)
    .setProtectedHeader({ alg: 'ES256', typ: TRUST_BUNDLE_TYPE, kid: bundle.trustKey.kid })
    .sign(await importJWK(privateKey, 'ES256'));
}

/**
 * Reads a signed bundle and checks that the trust key in it signed it. That says nothing yet about whose key that is: a person has to
 * compare its fingerprint the first time (`readTrustedBundle`), and `acceptNewer` holds on to it afterwards.
 * @param text compact JWS (RFC 7515), as `sls admin trust-bundle export` prints it
 * @example
 *   const bundle = await readSignedBundle(jws);
 *   if ((await fingerprint(bundle.trustKey)) !== whatThePersonTyped) throw new Error('another installation');
 * @throws TrustError trust.unsigned, trust.malformed, trust.type, trust.signature, trust.newer_release
 */
export async function readSignedBundle(text: string): Promise<TrustBundle> {
  // In a file, it is a line.
  const jws = text.trim();
  if (jws.startsWith('{'))
    throw new TrustError(
      'trust.unsigned',
      'expected a signed trust bundle, got the plain form: that is for reading, and anyone could have written it',
    );
  if (jws.length > MAX_LENGTH)
    throw new TrustError('trust.malformed', `expected a signed trust bundle of ${MAX_LENGTH} characters at most`);
  let bundle: TrustBundle;
  let payload: unknown;
  try {
    if (decodeProtectedHeader(jws).typ !== TRUST_BUNDLE_TYPE)
      throw new TrustError('trust.type', `expected a signed trust bundle (typ ${TRUST_BUNDLE_TYPE})`);
    payload = decodeJwt(jws);
    bundle = readTrustBundle(payload);
  } catch (cause) {
    throw asTrustError(cause);
  }
  try {
    await compactVerify(jws, await importJWK(bundle.trustKey, 'ES256'), { algorithms: ['ES256'] });
  } catch (cause) {
    throw new TrustError('trust.signature', 'the trust bundle is not signed by its trust key', { cause });
  }
  try {
    requireUnderstood(payload, bundle);
  } catch (cause) {
    throw asTrustError(cause);
  }
  return bundle;
}

function asTrustError(cause: unknown): TrustError {
  if (cause instanceof TrustError) return cause;
  if (cause instanceof TrustBundleError && cause.code === 'trust_bundle.newer_release')
    return new TrustError('trust.newer_release', cause.message, { cause });
  const reason = cause instanceof TrustBundleError ? `: ${cause.message}` : '';
  return new TrustError('trust.malformed', `expected a signed trust bundle${reason}`, { cause });
}

/**
 * Verifies a signed bundle against the fingerprint of its trust key.
 * @param jws compact JWS (RFC 7515), as `sls admin trust-bundle export` prints it
 * @param expected fingerprint from the operator over another channel: `SHA256:` and 43 characters of base64url
 * @throws TrustError trust.fingerprint, and those of `readSignedBundle`
 */
export async function readTrustedBundle(jws: string, expected: string): Promise<TrustBundle> {
  const bundle = await readSignedBundle(jws);
  const got = await fingerprint(bundle.trustKey);
  if (got !== expected)
    throw new TrustError('trust.fingerprint', `the trust key does not match: expected ${expected}, got ${got}`);
  return bundle;
}

/** A bundle with the form in which its operator signed it: what is kept and handed on is that form. */
export interface SignedTrust {
  bundle: TrustBundle;
  /** Compact JWS. */
  signed: string;
}

/**
 * A bundle that somebody goes by. Who doesn't have it as it was signed may have put policy and services of their own into it, so these aren't compared
 * with another one's then.
 */
interface HeldTrust {
  bundle: TrustBundle;
  /** Compact JWS. */
  signed?: string | undefined;
}

/**
 * Refuses a bundle in the place of one of the same trust key that is newer, or that has its sequence and says something else.
 * @throws TrustError trust.older, trust.conflict
 */
export function checkNotOlder(known: HeldTrust, offered: SignedTrust): void {
  const [expected, got] = [known.bundle.sequence, offered.bundle.sequence];
  if (got < expected)
    throw new TrustError(
      'trust.older',
      `the trust bundle is older than the one at hand: expected sequence ${expected} or later, got ${got}`,
    );
  checkNoConflict(known, offered);
}

/** One trust key signs one bundle for each sequence. @throws TrustError trust.conflict */
function checkNoConflict(known: HeldTrust, offered: SignedTrust): void {
  const { sequence } = offered.bundle;
  if (sequence === known.bundle.sequence && !saysTheSame(known, offered))
    throw new TrustError('trust.conflict', `expected one trust bundle with sequence ${sequence}, got two that differ`);
}

function saysTheSame(known: HeldTrust, offered: SignedTrust): boolean {
  return known.signed === undefined
    ? operatorsPart(known.bundle) === operatorsPart(offered.bundle)
    : payloadOf(known.signed) === payloadOf(offered.signed);
}

/** What was signed. ECDSA signatures of the same content differ. */
function payloadOf(signed: string): string | undefined {
  return signed.trim().split('.')[1];
}

/** All but what a client may replace. Parsing puts the fields into one order. */
function operatorsPart(bundle: TrustBundle): string {
  const { policy: _policy, services: _services, ...rest } = parseTrustBundle(JSON.stringify(bundle));
  return JSON.stringify(rest);
}

/**
 * Takes a newer bundle in place of the one that is held.
 * @returns the newer one; undefined when it isn't newer, as from a replica that has not seen the newest yet
 * @throws TrustError trust.key_changed when another key signs than the held one's: someone else may be answering. trust.domain_changed
 *   for another installation; trust.conflict for another bundle with the same sequence; and those of `readSignedBundle`
 */
export async function acceptNewer(held: HeldTrust, jws: string): Promise<TrustBundle | undefined> {
  const offered = await readSignedBundle(jws);
  const { trustKey, trustDomain, sequence } = held.bundle;
  if (!isSameKey(offered.trustKey, trustKey)) {
    const [expected, got] = await Promise.all([fingerprint(trustKey), fingerprint(offered.trustKey)]);
    throw new TrustError('trust.key_changed', `the trust key has changed: expected ${expected}, got ${got}`);
  }
  if (offered.trustDomain !== trustDomain) {
    throw new TrustError(
      'trust.domain_changed',
      `expected the trust bundle of ${trustDomain}, got one of ${offered.trustDomain}`,
    );
  }
  checkNoConflict(held, { bundle: offered, signed: jws });
  return offered.sequence > sequence ? offered : undefined;
}
