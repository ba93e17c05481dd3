import type { Queries } from '../store/queries';
import type { ClientDetails } from './client-details';

/** A session that nobody uses ends after this. */
export const SESSION_IDLE_DAYS = 30;
/**
 * A refresh token that was used a moment ago is most likely its owner's other process, which has the next one or gets it. Only after this may its
 * answer count as lost.
 */
export const REUSE_GRACE_SECONDS = 5;

/** True of a session `s` that may go on. */
export const LIVE_SESSION = `s.revoked_at IS NULL AND s.expires_at > now() AND s.last_used_at > now() - interval '${SESSION_IDLE_DAYS} days'`;
/** True where the user of a session `s` is revoked. */
export const REVOKED = `EXISTS (SELECT 1 FROM revocations r WHERE r.kind = 'user' AND r.subject = s.user_id::text)`;
/** When a session ends by itself, Unix seconds. */
export const SESSION_EXPIRY = `floor(extract(epoch FROM least(expires_at, last_used_at + interval '${SESSION_IDLE_DAYS} days')))::int AS ends`;

/** What is left of a session, and which generation its access tokens are of now. */
export interface Continued {
  /** Unix seconds when it ends. */
  ends: number;
  generation: number;
}

/**
 * Uses a refresh token and gives its session `next`, in a transaction of its own. Of a session's tokens two are good at most: the one that was used
 * last, because nobody knows whether its answer arrived, and the one that was given for it. Each use retires all others, so a successor that is used
 * ends what was before it, and one that is asked for again ends the successor that seems lost. Whoever shows a retired one shares the session with
 * somebody (RFC 9700, 4.14.2).
 * @returns undefined where the token is not good, or was used by another call at this moment
 */
export async function rotate(
  queries: Queries,
  { used, next }: { used: Buffer; next: Buffer },
  client: ClientDetails,
  certifiedSeconds: number,
): Promise<Continued | undefined> {
  // Calls with tokens of one session wait for one another here: what they see of its tokens afterwards is true.
  const [session] = await queries.query<{ live: boolean }>(
    `SELECT ${LIVE_SESSION} AS live FROM sessions s JOIN refresh_tokens t ON t.session_id = s.id WHERE t.sha256 = $1 FOR UPDATE OF s`,
    [used],
  );
  if (session?.live !== true) return undefined;
  const [row] = await queries.query<Continued>(
    `WITH spent AS (
       UPDATE refresh_tokens SET used_at = now()
       WHERE sha256 = $1 AND retired_at IS NULL AND (used_at IS NULL OR used_at <= now() - interval '${REUSE_GRACE_SECONDS} seconds') RETURNING session_id
     ), retired AS (
       UPDATE refresh_tokens SET retired_at = now() WHERE session_id IN (SELECT session_id FROM spent) AND sha256 <> $1 AND retired_at IS NULL
     ), given AS (
       INSERT INTO refresh_tokens (sha256, session_id) SELECT $2, session_id FROM spent
     )
     UPDATE sessions SET last_used_at = now(), certified_until = greatest(certified_until, now() + make_interval(secs => $3)), client_name = $4, client_address = $5
     WHERE id IN (SELECT session_id FROM spent) RETURNING ${SESSION_EXPIRY}, generation`,
    [used, next, certifiedSeconds, client.name, client.address],
  );
  return row;
}

/**
 * Gives a session `next` in place of all tokens that it has, access tokens as well: whoever has one of those is out.
 * @returns undefined where it has ended
 */
export async function replaceTokens(queries: Queries, session: string, next: Buffer): Promise<Continued | undefined> {
  const [row] = await queries.query<Continued>(
    `UPDATE sessions s SET last_used_at = now(), generation = generation + 1 WHERE id = $1 AND ${LIVE_SESSION} RETURNING ${SESSION_EXPIRY}, generation`,
    [session],
  );
  if (!row) return undefined;
  await queries.query('UPDATE refresh_tokens SET retired_at = now() WHERE session_id = $1 AND retired_at IS NULL', [
    session,
  ]);
  await queries.query('INSERT INTO refresh_tokens (sha256, session_id) VALUES ($1, $2)', [next, session]);
  return row;
}

/** As `rotate` has it, where that was done already. */
export async function rotatedSession(queries: Queries, next: Buffer): Promise<Continued | undefined> {
  const [row] = await queries.query<Continued>(
    `SELECT ${SESSION_EXPIRY}, generation FROM sessions JOIN refresh_tokens t ON t.session_id = sessions.id WHERE t.sha256 = $1`,
    [next],
  );
  return row;
}
