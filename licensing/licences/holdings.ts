import type { Plan } from '../../attestation/licences/plan';
import type { Queries } from '../store/queries';

/** A licence as the database has it. */
export interface LicenceRecord {
  licence: string;
  plan: Plan;
  until: Date;
  graceUntil: Date;
  /** How many accounts may have it at once. */
  accounts: number;
  issuedAt: Date;
  /** Name of the administrator. */
  issuedBy: string;
  reason: string;
  revokedAt?: Date;
  revokedBy?: string;
  revokedReason?: string;
}

/** A licence of a user's. */
export interface HeldLicence extends LicenceRecord {
  redeemedAt: Date;
}

export interface LicenceRow {
  id: string;
  plan: string;
  images: string[] | null;
  enclaves: number;
  seats: number;
  cpu: string | null;
  memory: string | null;
  valid_until: Date;
  grace_until: Date;
  accounts: number;
  issued_at: Date;
  issued_by: string;
  reason: string;
  revoked_at: Date | null;
  revoked_by: string | null;
  revoked_reason: string | null;
}

/** Columns of LicenceRow, of the table under the name l. */
export const LICENCE_COLUMNS = [
  ...['id', 'plan', 'images', 'enclaves', 'seats', 'cpu', 'memory', 'valid_until', 'grace_until', 'accounts'],
  ...['issued_at', 'issued_by', 'reason', 'revoked_at', 'revoked_by', 'revoked_reason'],
]
  .map((column) => `l.${column}`)
  .join(', ');

export function toLicence(row: LicenceRow): LicenceRecord {
  const { images, cpu, memory } = row;
  return {
    licence: row.id,
    plan: {
      name: row.plan,
      ...(images && { images }),
      enclaves: row.enclaves,
      seats: row.seats,
      ...(cpu !== null && { cpu }),
      ...(memory !== null && { memory }),
    },
    until: row.valid_until,
    graceUntil: row.grace_until,
    accounts: row.accounts,
    issuedAt: row.issued_at,
    issuedBy: row.issued_by,
    reason: row.reason,
    ...(row.revoked_at && {
      revokedAt: row.revoked_at,
      revokedBy: row.revoked_by ?? '',
      revokedReason: row.revoked_reason ?? '',
    }),
  };
}

/** The licences of a user, those that are over or revoked included, the one that was redeemed last first. */
export async function heldLicences(queries: Queries, user: string): Promise<HeldLicence[]> {
  const rows = await queries.query<LicenceRow & { redeemed_at: Date }>(
    `SELECT ${LICENCE_COLUMNS}, r.redeemed_at FROM licence_redemptions r JOIN licences l ON l.id = r.licence_id
     WHERE r.user_id = $1 ORDER BY r.redeemed_at DESC, l.id`,
    [user],
  );
  return rows.map((row) => ({ ...toLicence(row), redeemedAt: row.redeemed_at }));
}
