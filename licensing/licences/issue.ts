import { randomUUID } from 'node:crypto';
import { recordAudit } from '../audit/audit';
import type { Database } from '../store/database';
import { stateOf } from './entitlement';
import { LICENCE_COLUMNS, toLicence } from './holdings';
import type { LicenceRecord, LicenceRow } from './holdings';
import type { LicenceTerms } from '../../attestation/licences/key';
import type { LicenceState } from '../../attestation/licences/plan';
import type { Queries } from '../store/queries';

const DAY_MS = 86_400_000;

interface IssueOptions {
  /** Name of the administrator. */
  administrator: string;
  reason: string;
}

/** Writes a new licence down. @returns what its key has to say */
export async function issueLicence(
  database: Database,
  terms: Omit<LicenceTerms, 'licence'>,
  { administrator, reason }: IssueOptions,
): Promise<LicenceTerms> {
  const licence = randomUUID();
  const { plan, until, graceDays, accounts } = terms;
  const { name, images, enclaves, seats, cpu = null, memory = null } = plan;
  const graceUntil = new Date(until.getTime() + graceDays * DAY_MS);
  await database.transaction(async (queries) => {
    await queries.query(
      `INSERT INTO licences (id, plan, images, enclaves, seats, cpu, memory, valid_until, grace_until, accounts, issued_by, reason)
       VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)`,
      [
        licence,
        name,
        images ? JSON.stringify(images) : null,
        enclaves,
        seats,
        cpu,
        memory,
        until,
        graceUntil,
        accounts,
        administrator,
        reason,
      ],
    );
    await recordAudit(queries, {
      kind: 'admin.issue_licence',
      detail: {
        administrator,
        subject: `licence/${licence}`,
        plan,
        until: until.toISOString(),
        graceDays,
        accounts,
        reason,
      },
    });
  });
  return { licence, ...terms };
}

/**
 * Ends a licence.
 * @returns false when it was revoked already: the first record stays. undefined when there is none
 */
export async function revokeLicence(
  database: Database,
  licence: string,
  { administrator, reason }: IssueOptions,
): Promise<boolean | undefined> {
  return database.transaction(async (queries) => {
    const [there] = await queries.query<{ revoked: boolean }>(
      'SELECT revoked_at IS NOT NULL AS revoked FROM licences WHERE id = $1 FOR UPDATE',
      [licence],
    );
    if (!there || there.revoked) return there && false;
    await queries.query('UPDATE licences SET revoked_at = now(), revoked_by = $2, revoked_reason = $3 WHERE id = $1', [
      licence,
      administrator,
      reason,
    ]);
    await recordAudit(queries, {
      kind: 'admin.revoke_licence',
      detail: { administrator, subject: `licence/${licence}`, reason },
    });
    return true;
  });
}

export interface IssuedLicence extends LicenceRecord {
  /** How many accounts have it. */
  redeemed: number;
  state: LicenceState;
}

/** What a page begins behind: a licence, and one of the accounts that have it or none. */
export interface LicenceCursor {
  licence: string;
  /** Id of the account; empty before the first. */
  user: string;
}

/** The newest first. A page with all that its licences can say stays below a message's size. */
export const LICENCE_PAGE = 200;

const ORDER = 'l.issued_at DESC, l.id DESC';
const REDEEMED = '(SELECT count(*)::int FROM licence_redemptions c WHERE c.licence_id = l.id) AS redeemed';
const BEHIND = '(l.issued_at, l.id) < (SELECT b.issued_at, b.id FROM licences b WHERE b.id = $1)';

function toIssued(row: LicenceRow & { redeemed: number }, now: Date): IssuedLicence {
  const record = toLicence(row);
  return { ...record, redeemed: row.redeemed, state: stateOf(record, now) };
}

/** A page of all licences. */
export async function listLicences(queries: Queries, now: Date, after?: LicenceCursor): Promise<IssuedLicence[]> {
  const rows = await queries.query<LicenceRow & { redeemed: number }>(
    `SELECT ${LICENCE_COLUMNS}, ${REDEEMED} FROM licences l WHERE $1::uuid IS NULL OR ${BEHIND} ORDER BY ${ORDER} LIMIT ${LICENCE_PAGE}`,
    [after?.licence ?? null],
  );
  return rows.map((row) => toIssued(row, now));
}

/** A licence and one of the accounts that have it, or none where nobody has. */
interface LicenceUse {
  licence: IssuedLicence;
  /** Seats that are taken now, over all of its accounts. */
  seatsInUse: number;
  account?: { user: string; username: string; redeemedAt: Date };
}

/** A page of who has which licence, of one of them or of all. */
export async function listLicenceUse(
  queries: Queries,
  now: Date,
  { licence, after }: { licence?: string | undefined; after?: LicenceCursor | undefined },
): Promise<LicenceUse[]> {
  const rows = await queries.query<
    LicenceRow & { redeemed: number; seats_in_use: number; user_id: string | null; username: string; redeemed_at: Date }
  >(
    `SELECT ${LICENCE_COLUMNS}, ${REDEEMED}, r.user_id, a.username, r.redeemed_at,
       (SELECT count(*)::int FROM seats s WHERE s.licence_id = l.id AND s.freed_at IS NULL AND s.expires_at > now()) AS seats_in_use
     FROM licences l LEFT JOIN licence_redemptions r ON r.licence_id = l.id LEFT JOIN accounts a ON a.id = r.user_id
     WHERE ($3::uuid IS NULL OR l.id = $3) AND ($1::uuid IS NULL OR ${BEHIND} OR (l.id = $1 AND r.user_id > $2::uuid))
     ORDER BY ${ORDER}, r.user_id LIMIT ${LICENCE_PAGE}`,
    [after?.licence ?? null, after?.user || null, licence ?? null],
  );
  return rows.map((row) => ({
    licence: toIssued(row, now),
    seatsInUse: row.seats_in_use,
    ...(row.user_id !== null && {
      account: { user: row.user_id, username: row.username, redeemedAt: row.redeemed_at },
    }),
  }));
}
