import { randomUUID } from 'node:crypto';
import { recordAudit } from '../audit/audit';
import type { Identity } from '../oidc/id-token';
import type { Queries } from '../store/queries';

/** The account of whom an OpenID provider says that somebody is, and nothing else that it says. */
export async function findByIdentity(
  queries: Queries,
  { issuer, subject }: Identity,
): Promise<{ user: string; username: string } | undefined> {
  const [row] = await queries.query<{ id: string; username: string }>(
    'SELECT a.id, a.username FROM oidc_identities i JOIN accounts a ON a.id = i.user_id WHERE i.issuer = $1 AND i.subject = $2',
    [issuer, subject],
  );
  return row && { user: row.id, username: row.username };
}

/** The provider whose word an account is bound to, where it is to any. */
export async function issuerOf(queries: Queries, user: string): Promise<string | undefined> {
  const [row] = await queries.query<{ issuer: string }>('SELECT issuer FROM oidc_identities WHERE user_id = $1', [
    user,
  ]);
  return row?.issuer;
}

/**
 * Makes an account without a password for an identity, in the transaction of its first login. Of calls for one identity or one name at once, on whichever
 * replicas, one makes it: others wait for its transaction here.
 * @returns its id; else what is there already, and then the transaction must not be committed
 */
export async function createByIdentity(
  queries: Queries,
  username: string,
  { issuer, subject }: Identity,
): Promise<{ user: string } | { taken: 'username' | 'identity' }> {
  const user = randomUUID();
  const made = await queries.query(
    'INSERT INTO accounts (id, username) VALUES ($1, $2) ON CONFLICT DO NOTHING RETURNING id',
    [user, username],
  );
  // By another call for the same identity, it may be.
  if (made.length === 0)
    return { taken: (await findByIdentity(queries, { issuer, subject })) ? 'identity' : 'username' };
  const bound = await queries.query(
    'INSERT INTO oidc_identities (issuer, subject, user_id) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING RETURNING user_id',
    [issuer, subject, user],
  );
  if (bound.length === 0) return { taken: 'identity' };
  await recordAudit(queries, { kind: 'account.created', detail: { user, issuer } });
  return { user };
}

/**
 * Binds an account that is there, in the transaction that uses the token up.
 * @returns false where the account, or the identity, is bound already
 */
export async function bindIdentity(queries: Queries, user: string, { issuer, subject }: Identity): Promise<boolean> {
  const bound = await queries.query(
    'INSERT INTO oidc_identities (issuer, subject, user_id) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING RETURNING user_id',
    [issuer, subject, user],
  );
  if (bound.length > 0) await recordAudit(queries, { kind: 'account.oidc_bound', detail: { user, issuer } });
  return bound.length > 0;
}

/** By whose word an account can be logged into. */
export interface LinkedIdentity {
  issuer: string;
  linkedAt: Date;
}

interface LinkedRow {
  issuer: string;
  created_at: Date;
}

const toLinked = ({ issuer, created_at: linkedAt }: LinkedRow): LinkedIdentity => ({ issuer, linkedAt });

export async function linkedIdentities(queries: Queries, user: string): Promise<LinkedIdentity[]> {
  const rows = await queries.query<LinkedRow>(
    'SELECT issuer, created_at FROM oidc_identities WHERE user_id = $1 ORDER BY created_at, issuer',
    [user],
  );
  return rows.map(toLinked);
}

/** @returns what was bound until now */
export async function unbindIdentities(queries: Queries, user: string): Promise<LinkedIdentity[]> {
  const rows = await queries.query<LinkedRow>(
    'DELETE FROM oidc_identities WHERE user_id = $1 RETURNING issuer, created_at',
    [user],
  );
  for (const { issuer } of rows) await recordAudit(queries, { kind: 'account.oidc_unbound', detail: { user, issuer } });
  return rows.map(toLinked);
}

/** Holds the account of an identity for the rest of the transaction. @returns false where it is gone, or another one's meanwhile */
export async function holdByIdentity(queries: Queries, user: string, { issuer, subject }: Identity): Promise<boolean> {
  const rows = await queries.query(
    'SELECT a.id FROM accounts a JOIN oidc_identities i ON i.user_id = a.id WHERE a.id = $1 AND i.issuer = $2 AND i.subject = $3 FOR NO KEY UPDATE OF a',
    [user, issuer, subject],
  );
  return rows.length > 0;
}
