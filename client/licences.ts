import { Metadata } from '@grpc/grpc-js';
import { verifyLicenceKey } from '../attestation/licences/key';
import type { LicenceTerms } from '../attestation/licences/key';
import { planFromMessage, stateFromMessage } from '../attestation/licences/messages';
import type { LicenceState, Plan } from '../attestation/licences/plan';
import { callUnary } from '../runtime/rpc/client';
import { fromUnixSeconds } from '../runtime/rpc/unix-time';
import type { TrustBundle } from '../attestation/trust/bundle';
import { LicenceServiceClient } from '../proto/gen/licensing/v1/licence';
import type { OwnLicence as OwnLicenceMessage } from '../proto/gen/licensing/v1/licence';
import type { PasswordCredential } from '../proto/gen/licensing/v1/login';
import { bearer, PASSWORD_TIMEOUT_MS } from './account';
import type { CallOptions } from './account';
import { withService } from './channel';
import { dateOf, systemClock } from '../runtime/clock';

/** The account to act on: by the access token of a session, or by username and password without one. */
export type LicenceCredential = { accessToken: string } | { username: string; password: string; oneTimeCode?: string };

/** State of a licence at the time of the call; logins work under `valid` and `grace`. */
export type OwnLicenceState = LicenceState;

/** A licence held by the user's account. */
export interface OwnLicence {
  /** Id (UUID). */
  licence: string;
  plan: Plan;
  redeemedAt: Date;
  /** End of the licence. */
  until: Date;
  /** Logins work until then. */
  graceUntil: Date;
  state: OwnLicenceState;
  /** True for the licence that applies to logins. */
  applies: boolean;
}

function toOwnLicence({ licence, plan, redeemedAt, until, graceUntil, state, applies }: OwnLicenceMessage): OwnLicence {
  return {
    licence,
    plan: planFromMessage(plan),
    redeemedAt: fromUnixSeconds(redeemedAt),
    until: fromUnixSeconds(until),
    graceUntil: fromUnixSeconds(graceUntil),
    state: stateFromMessage(state),
    applies,
  };
}

function shown(credential: LicenceCredential): {
  metadata: Metadata;
  proof: { password: PasswordCredential | undefined; oneTimeCode: string };
} {
  if ('accessToken' in credential)
    return { metadata: bearer(credential.accessToken), proof: { password: undefined, oneTimeCode: '' } };
  const { username, password, oneTimeCode = '' } = credential;
  return { metadata: new Metadata(), proof: { password: { username, password, knownSession: '' }, oneTimeCode } };
}

/**
 * Verifies a licence key offline, against the trust bundle: who issued it, what it allows, and until when. Only the service
 * knows whether it was revoked or redeemed since.
 * @example
 * const { plan, until } = await verifyLicence(trust, await readFile('team.licence', 'utf8'));
 * @throws LicenceKeyError licence.signature, licence.expired and others
 */
export function verifyLicence(
  trust: TrustBundle,
  key: string,
  { now = dateOf(systemClock) }: { now?: Date } = {},
): Promise<LicenceTerms> {
  return verifyLicenceKey(trust.licenceKeys?.keys ?? [], key, { trustDomain: trust.trustDomain, now });
}

/**
 * Redeems a licence key for an account. The licence applies from the next login on.
 * @returns `changed`: false if the account already held it
 * @throws RpcError licence.full, licence.expired, licence.revoked, licence.unknown, licence.signature and the other codes of LicenceKeyError
 */
export function redeemLicence(
  trust: TrustBundle,
  credential: LicenceCredential,
  key: string,
  options: CallOptions = {},
): Promise<{ licence: OwnLicence; changed: boolean }> {
  return withService(LicenceServiceClient, trust.services.login, trust, options, async (client) => {
    const { metadata, proof } = shown(credential);
    const { licence, changed } = await callUnary(
      client,
      client.redeemLicence,
      { key, ...proof },
      { timeout: PASSWORD_TIMEOUT_MS, metadata, signal: options.signal },
    );
    if (!licence) throw new TypeError('expected to be told which licence it is, got none');
    return { licence: toOwnLicence(licence), changed };
  });
}

/** Gives a licence back, so that another account can redeem it. @param licence its id @throws RpcError licence.not_held */
export async function dropLicence(
  trust: TrustBundle,
  credential: LicenceCredential,
  licence: string,
  options: CallOptions = {},
): Promise<void> {
  await withService(LicenceServiceClient, trust.services.login, trust, options, (client) => {
    const { metadata, proof } = shown(credential);
    return callUnary(
      client,
      client.dropLicence,
      { licence, ...proof },
      { timeout: PASSWORD_TIMEOUT_MS, metadata, signal: options.signal },
    );
  });
}

/**
 * Lists the licences of an account, most recently redeemed first.
 * @returns `required`: whether logins require a licence
 * @throws RpcError
 */
export function listLicences(
  trust: TrustBundle,
  accessToken: string,
  options: CallOptions = {},
): Promise<{ licences: OwnLicence[]; required: boolean }> {
  return withService(LicenceServiceClient, trust.services.login, trust, options, async (client) => {
    const call = { timeout: PASSWORD_TIMEOUT_MS, metadata: bearer(accessToken), signal: options.signal };
    const { licences, required } = await callUnary(client, client.listOwnLicences, {}, call);
    return { licences: licences.map(toOwnLicence), required };
  });
}
