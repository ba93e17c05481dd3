import type { LicenceState } from '../../attestation/licences/plan';
import { heldLicences } from './holdings';
import type { HeldLicence } from './holdings';
import type { Queries } from '../store/queries';

/** What a user may do by the licence that applies to them. */
export interface Entitlement {
  /** Id of the licence. */
  licence: string;
  /** Name of its plan. */
  plan: string;
  /** Digests (sha256:HEX) of the images that may run. Absent: any that the operator allows. */
  images?: string[];
  /** Named enclaves of one user. */
  enclaves: number;
  /** Sessions at once, over all users of the licence. */
  seats: number;
  /** Of an enclave, Kubernetes quantities. Absent: what the operator gives everyone. */
  cpu?: string;
  memory?: string;
  until: Date;
  /** Logins work until then. */
  graceUntil: Date;
}

/** How a licence stands at a time. */
export function stateOf(
  { until, graceUntil, revokedAt }: Pick<HeldLicence, 'until' | 'graceUntil' | 'revokedAt'>,
  now: Date,
): LicenceState {
  if (revokedAt !== undefined) return 'revoked';
  if (now < until) return 'valid';
  return now < graceUntil ? 'grace' : 'expired';
}

const ORDER: readonly LicenceState[] = ['valid', 'grace', 'expired', 'revoked'];

/**
 * Of the licences of a user, the one that counts: a valid one before one in its grace days before one that is over, and among these the one that was
 * redeemed last.
 * @param held the one that was redeemed last first
 */
export function applicableLicence(
  held: readonly HeldLicence[],
  now: Date,
): { licence: HeldLicence; state: LicenceState } | undefined {
  for (const state of ORDER) {
    const licence = held.find((each) => stateOf(each, now) === state);
    if (licence) return { licence, state };
  }
  return undefined;
}

export function toEntitlement({ licence, plan: { name: plan, ...rest }, until, graceUntil }: HeldLicence): Entitlement {
  return { licence, plan, ...rest, until, graceUntil };
}

/**
 * What the licence allows that a user's sessions count among, in force or not: its end keeps users from logging in, and never takes from a session what it has.
 * @returns with how it stands; undefined for who has none
 */
export async function lastingEntitlementOf(
  queries: Queries,
  user: string,
  now: Date,
): Promise<(Entitlement & { state: LicenceState }) | undefined> {
  const found = applicableLicence(await heldLicences(queries, user), now);
  return found && { ...toEntitlement(found.licence), state: found.state };
}

/** What a user's licence allows, its grace days included. @returns undefined without a licence, or when every one is over or revoked */
export async function entitlementOf(queries: Queries, user: string, now: Date): Promise<Entitlement | undefined> {
  const found = applicableLicence(await heldLicences(queries, user), now);
  return found && (found.state === 'valid' || found.state === 'grace') ? toEntitlement(found.licence) : undefined;
}
