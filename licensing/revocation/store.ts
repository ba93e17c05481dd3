import { MAX_ATTESTATION_KEY_CERTIFICATE_DAYS } from '../authority/attestation-key';
import { MAX_CLIENT_CERTIFICATE_SECONDS } from '../authority/client';
import { recentlyRevokedSessions, revokeSessions } from '../sessions/sessions';
import type { Revoked } from '../../attestation/trust/revocations';
import type { Queries } from '../store/queries';

export type RevocationKind = 'node' | 'ak' | 'ek' | 'user';

interface RevocationRecord {
  kind: RevocationKind;
  /** A node's name, SHA-256 of a key's TPMT_PUBLIC in hex, a user's id. */
  subject: string;
  revokedAt: Date;
  /** Name of the administrator. */
  revokedBy: string;
  reason: string;
}

/** Newest first, in a revocation list; with what sessions take, two thirds of what a client reads (attestation/trust/revocations.ts). */
const MAX_DELETED_USERS = 2_000;

/**
 * A user's sessions end with it: what was stolen of them is worth nothing when the user is restored. Whatever is decided about the account at this moment
 * has happened, or sees the revocation.
 * @returns false when it was revoked already: the first record stays
 */
export async function revoke(
  queries: Queries,
  { kind, subject, revokedBy, reason }: Omit<RevocationRecord, 'revokedAt'>,
): Promise<boolean> {
  if (kind === 'user') await queries.query('SELECT id FROM accounts WHERE id = $1 FOR NO KEY UPDATE', [subject]);
  const rows = await queries.query(
    'INSERT INTO revocations (kind, subject, revoked_by, reason) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING RETURNING kind',
    [kind, subject, revokedBy, reason],
  );
  if (kind === 'user') await revokeSessions(queries, subject, {}, 'revoked');
  return rows.length > 0;
}

/** @returns false when it was not revoked */
export async function restore(queries: Queries, kind: RevocationKind, subject: string): Promise<boolean> {
  return (
    (await queries.query('DELETE FROM revocations WHERE kind = $1 AND subject = $2 RETURNING kind', [kind, subject]))
      .length > 0
  );
}

export async function listRevocations(queries: Queries): Promise<RevocationRecord[]> {
  const rows = await queries.query<{
    kind: RevocationKind;
    subject: string;
    revoked_at: Date;
    revoked_by: string;
    reason: string;
  }>('SELECT kind, subject, revoked_at, revoked_by, reason FROM revocations ORDER BY revoked_at, kind, subject');
  return rows.map(({ kind, subject, revoked_at: revokedAt, revoked_by: revokedBy, reason }) => ({
    kind,
    subject,
    revokedAt,
    revokedBy,
    reason,
  }));
}

/** True when one of them is revoked. */
export async function isAnyRevoked(
  queries: Queries,
  subjects: ReadonlyArray<readonly [RevocationKind, string]>,
): Promise<boolean> {
  const values = subjects.flatMap(([kind, subject]) => [kind, subject]);
  const pairs = subjects.map((_, index) => `($${index * 2 + 1}, $${index * 2 + 2})`).join(', ');
  return (
    (await queries.query(`SELECT 1 AS there FROM revocations WHERE (kind, subject) IN (${pairs}) LIMIT 1`, values))
      .length > 0
  );
}

/** Clocks differ, and what was being issued at the moment of the revocation was issued a little later. */
const MARGIN_SECONDS = 86_400;
/**
 * For how long a list names a subject: as long as the longest-lived certificate that can be shown for it, whatever its program is set to.
 * Certificates of attestation keys stand behind node, AK and EK; a client certificate behind a user.
 */
const NAMED_SECONDS: Record<RevocationKind, number> = {
  node: MAX_ATTESTATION_KEY_CERTIFICATE_DAYS * 86_400 + MARGIN_SECONDS,
  ak: MAX_ATTESTATION_KEY_CERTIFICATE_DAYS * 86_400 + MARGIN_SECONDS,
  ek: MAX_ATTESTATION_KEY_CERTIFICATE_DAYS * 86_400 + MARGIN_SECONDS,
  user: MAX_CLIENT_CERTIFICATE_SECONDS + MARGIN_SECONDS,
};

/**
 * What a revocation list has to name: everything that could still be shown as good. Enrol gives a revoked node or key no other certificate, login a
 * revoked or deleted user none. What users can make longer by themselves, by ending sessions and accounts, is bounded: a list that is too long to be read would keep everybody out.
 * @param user named however long ago they were revoked
 */
export async function currentlyRevoked(queries: Queries, user = ''): Promise<Revoked> {
  const rows = await queries.query<{ kind: RevocationKind; subject: string }>(
    `SELECT kind, subject FROM revocations
     WHERE revoked_at > now() - make_interval(secs => CASE kind
         WHEN 'node' THEN ${NAMED_SECONDS.node} WHEN 'ak' THEN ${NAMED_SECONDS.ak} WHEN 'ek' THEN ${NAMED_SECONDS.ek} ELSE ${NAMED_SECONDS.user} END)
        OR (kind = 'user' AND subject = $1)
     UNION SELECT 'user', user_id::text FROM deleted_users WHERE user_id::text = $1
     UNION SELECT 'user', user_id FROM
       (SELECT user_id::text FROM deleted_users WHERE certified_until > now() ORDER BY deleted_at DESC LIMIT ${MAX_DELETED_USERS}) AS deleted
     ORDER BY kind, subject`,
    [user],
  );
  const of = (wanted: RevocationKind): string[] =>
    rows.filter(({ kind }) => kind === wanted).map(({ subject }) => subject);
  return {
    nodes: of('node'),
    aks: of('ak'),
    eks: of('ek'),
    users: of('user'),
    sessions: await recentlyRevokedSessions(queries),
  };
}
