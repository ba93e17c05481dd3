import { randomUUID } from 'node:crypto';
import { recordAudit } from '../audit/audit';
import type { Database, Queries } from '../store/database';
import { stateOf } from './entitlement';
import type { LicenceState } from './entitlement';
import { LICENCE_COLUMNS, toLicence } from './holdings';
import type { LicenceRecord, LicenceRow } from './holdings';
import type { LicenceTerms } from './key';

const DAY_MS = 86_400_000;

export interface IssueOptions {
  /** Name of the administrator. */
  administrator: string;
  reason: string;
}

/** Writes a new licence down. @returns what its key has to say */
export async function issueLicence(database: Database, terms: Omit<LicenceTerms, 'licence'>, { administrator, reason }: IssueOptions): Promise<LicenceTerms> {
  const licence = randomUUID();
  const { plan, until, graceDays, accounts } = terms;
  const { name, images, enclaves, seats, cpu = null, memory = null } = plan;
  const graceUntil = new Date(until.getTime() + graceDays * DAY_MS);
  await database.transaction(async (queries) => {
    await queries.query(
      `INSERT INTO licences (id, plan, images, enclaves, seats, cpu, memory, valid_until, grace_until, accounts, issued_by, reason)
       VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)`,
      [licence, name, images ? JSON.stringify(images) : null, enclaves, seats, cpu, memory, until, graceUntil, accounts, administrator, reason],
    );
    await recordAudit(queries, {
      kind: 'admin.issue_licence',
      detail: { administrator, subject: `licence/${licence}`, plan, until: until.toISOString(), graceDays, accounts, reason },
    });
  });
  return { licence, ...terms };
}

/**
 * Ends a licence.
 * @returns false when it was revoked already: the first record stays. undefined when there is none
 */
export async function revokeLicence(database: Database, licence: string, { administrator, reason }: IssueOptions): Promise<boolean | undefined> {
  return database.transaction(async (queries) => {
    const [there] = await queries.query<{ revoked: boolean }>('SELECT revoked_at IS NOT NULL AS revoked FROM licences WHERE id = $1 FOR UPDATE', [licence]);
    if (!there || there.revoked) return there && false;
    await queries.query('UPDATE licences SET revoked_at = now(), revoked_by = $2, revoked_reason = $3 WHERE id = $1', [licence, administrator, reason]);
    await recordAudit(queries, { kind: 'admin.revoke_licence', detail: { administrator, subject: `licence/${licence}`, reason } });
    return true;
  });
}

export interface IssuedLicence extends LicenceRecord {
  /** How many accounts have it. */
  redeemed: number;
  state: LicenceState;
}

/** All licences, or one of them, the newest first. */
export async function listLicences(queries: Queries, now: Date, licence?: string): Promise<IssuedLicence[]> {
  const rows = await queries.query<LicenceRow & { redeemed: number }>(
    `SELECT ${LICENCE_COLUMNS}, (SELECT count(*)::int FROM licence_redemptions r WHERE r.licence_id = l.id) AS redeemed
     FROM licences l WHERE $1::uuid IS NULL OR l.id = $1 ORDER BY l.issued_at DESC, l.id`,
    [licence ?? null],
  );
  return rows.map((row) => {
    const record = toLicence(row);
    return { ...record, redeemed: row.redeemed, state: stateOf(record, now) };
  });
}

export interface Redemption {
  licence: string;
  /** Id of the account. */
  user: string;
  username: string;
  redeemedAt: Date;
}

/** Which accounts have licences, those that had one first, first. */
export async function listRedemptions(queries: Queries, licence?: string): Promise<Redemption[]> {
  const rows = await queries.query<{ licence_id: string; user_id: string; username: string; redeemed_at: Date }>(
    `SELECT r.licence_id, r.user_id, a.username, r.redeemed_at FROM licence_redemptions r JOIN accounts a ON a.id = r.user_id
     WHERE $1::uuid IS NULL OR r.licence_id = $1 ORDER BY r.redeemed_at, r.user_id`,
    [licence ?? null],
  );
  return rows.map(({ licence_id, user_id, username, redeemed_at }) => ({ licence: licence_id, user: user_id, username, redeemedAt: redeemed_at }));
}

/** How many seats of each licence are taken now; a licence that has none stands not in it. */
export async function seatsInUse(queries: Queries, licence?: string): Promise<Map<string, number>> {
  const rows = await queries.query<{ licence_id: string; seats: number }>(
    `SELECT licence_id, count(*)::int AS seats FROM seats
     WHERE licence_id IS NOT NULL AND freed_at IS NULL AND expires_at > now() AND ($1::uuid IS NULL OR licence_id = $1) GROUP BY licence_id`,
    [licence ?? null],
  );
  return new Map(rows.map(({ licence_id: of, seats }) => [of, seats]));
}
