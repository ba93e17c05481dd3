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

/** Whose licence it is: by the access token of a session, or by a password where there is none. */
export type LicenceCredential = { accessToken: string } | { username: string; password: string; oneTimeCode?: string };

export type OwnLicenceState = LicenceState;

/** A licence of one's own account. */
export interface OwnLicence {
  licence: string;
  plan: Plan;
  redeemedAt: Date;
  until: Date;
  /** Logins work until then. */
  graceUntil: Date;
  state: OwnLicenceState;
  /** The one that counts at a login. */
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
 * Checks a licence key offline, by the trust bundle alone: who issued it, what it allows, until when. Whether it was revoked or redeemed meanwhile, the
 * service knows alone.
 * @throws LicenceKeyError
 */
export function verifyLicence(
  trust: TrustBundle,
  key: string,
  { now = dateOf(systemClock) }: { now?: Date } = {},
): Promise<LicenceTerms> {
  return verifyLicenceKey(trust.licenceKeys?.keys ?? [], key, { trustDomain: trust.trustDomain, now });
}

/**
 * Gives the licence of a key to an account. It counts from the next login on.
 * @returns with `changed` false: the account had it already
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

/** Gives a licence back: another account may redeem it. @throws RpcError licence.not_held */
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
 * The licences of an account, the one that was redeemed last first.
 * @returns with `required`: whether there is no login without one
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
