import { randomUUID } from 'node:crypto';
import { status } from '@grpc/grpc-js';
import { recordAudit } from '../audit/audit';
import { logger } from '../log/logger';
import { RpcError } from '../rpc/errors';
import type { Database, Queries } from '../store/database';
import { newRefreshToken, refreshTokenHash } from '../tokens/refresh-token';

/** A session that nobody uses ends after this. */
export const SESSION_IDLE_DAYS = 30;
/** And every one after this: then the password is asked for again. */
export const SESSION_DAYS = 90;
/**
 * A refresh token that was used a moment ago is most likely its owner's other process, or a retry. It gets nothing either way; only later does
 * it count as stolen.
 */
export const REUSE_GRACE_SECONDS = 5;

/** Where a client says and seems to be. */
export interface ClientDetails {
  /** Its own word: see `clientNameOf`. */
  name: string;
  /** As the service sees it. */
  address: string;
}

/** A session that may go on. */
export interface LiveSession {
  session: string;
  /** Opaque id of the account. */
  user: string;
  /** Unix seconds when a password was given. */
  authenticatedAt: number;
}

export interface RefreshGrant {
  refreshToken: string;
  /** Unix seconds: it ends then unless it is used before. */
  refreshTokenExpiresAt: number;
}

export interface SessionRecord {
  session: string;
  createdAt: Date;
  lastUsedAt: Date;
  client: ClientDetails;
}

export type RevokedBecause = 'logout' | 'user' | 'password' | 'reuse';

/** `used_at` of the token that is shown, and what became of its session. */
interface TokenRow {
  id: string;
  user_id: string;
  authenticated_at: Date;
  used: boolean;
  used_just_now: boolean;
  live: boolean;
}

const LIVE = `s.revoked_at IS NULL AND s.expires_at > now() AND s.last_used_at > now() - interval '${SESSION_IDLE_DAYS} days'`;
const EXPIRY = `floor(extract(epoch FROM least(expires_at, last_used_at + interval '${SESSION_IDLE_DAYS} days')))::int AS ends`;

function invalid(): RpcError {
  return new RpcError('login.refresh_invalid', status.UNAUTHENTICATED, 'the refresh token is not one of this service');
}

function ended(): RpcError {
  return new RpcError('login.session_ended', status.UNAUTHENTICATED, 'the session has ended');
}

function raced(): RpcError {
  return new RpcError('login.refresh_raced', status.ABORTED, 'the refresh token was used at this moment by another call: try again with the new one');
}

/** What a client says its machine is called, made fit to be shown in a list. */
export function clientNameOf(text: string): string {
  return text.normalize('NFC').replace(/[^\p{L}\p{M}\p{N}\p{P}\p{S} ]/gu, '').trim().slice(0, 64);
}

/** The sessions table. Refusals of the database: see Database. */
export class Sessions {
  constructor(private readonly database: Database) {}

  /**
   * Begins a session of a user who has just shown a password.
   * @param passwordHash what the password was compared with: no session begins by one that was changed meanwhile
   * @throws RpcError UNAUTHENTICATED login.session_ended where it was
   */
  async begin(
    { user, session = randomUUID(), authenticatedAt, passwordHash }: { user: string; session?: string; authenticatedAt: number; passwordHash: string },
    client: ClientDetails,
    certifiedSeconds = 0,
  ): Promise<RefreshGrant> {
    const refreshToken = newRefreshToken();
    const ends = await this.database.transaction(async (queries) => {
      // Whoever changes the password waits for this row, or this for them.
      const known = await queries.query('SELECT id FROM accounts WHERE id = $1 AND password_hash = $2 FOR SHARE', [user, passwordHash]);
      if (known.length === 0) throw ended();
      const [row] = await queries.query<{ ends: number }>(
        `INSERT INTO sessions (id, user_id, authenticated_at, expires_at, certified_until, client_name, client_address)
         VALUES ($1, $2, to_timestamp($3), now() + interval '${SESSION_DAYS} days', now() + make_interval(secs => $4), $5, $6) RETURNING ${EXPIRY}`,
        [session, user, authenticatedAt, certifiedSeconds, client.name, client.address],
      );
      await queries.query('INSERT INTO refresh_tokens (sha256, session_id) VALUES ($1, $2)', [hashOf(refreshToken), session]);
      // What ended long ago is of no use to anyone.
      await queries.query(
        `DELETE FROM sessions WHERE user_id = $1 AND least(revoked_at, expires_at, last_used_at + interval '${SESSION_IDLE_DAYS} days') < now() - interval '1 day'`,
        [user],
      );
      return row!.ends;
    });
    return { refreshToken, refreshTokenExpiresAt: ends };
  }

  /**
   * Whose a refresh token is, without using it up. One that was used before means that two have it, its owner and a thief: nobody can tell which,
   * so the session ends for both.
   * @throws RpcError UNAUTHENTICATED login.refresh_invalid, login.session_ended, login.refresh_reused; ABORTED login.refresh_raced
   */
  async check(refreshToken: string): Promise<LiveSession> {
    const hash = refreshTokenHash(refreshToken);
    const row = hash && (await this.find(hash));
    if (!row) throw invalid();
    const { id: session, user_id: user, authenticated_at: at } = row;
    if (row.live && row.used && !row.used_just_now) {
      await this.endFamily(user, session);
      throw new RpcError('login.refresh_reused', status.UNAUTHENTICATED, 'the refresh token was used before: the session is ended, because somebody else may have it');
    }
    if (!row.live) throw ended();
    if (row.used) throw raced();
    return { session, user, authenticatedAt: Math.floor(at.getTime() / 1000) };
  }

  /** As `check`, for a hint: undefined for any token that isn't good, and nothing ends by it. */
  async recognize(refreshToken: string): Promise<LiveSession | undefined> {
    const hash = refreshTokenHash(refreshToken);
    const row = hash && (await this.find(hash));
    if (!row?.live || row.used) return undefined;
    return { session: row.id, user: row.user_id, authenticatedAt: Math.floor(row.authenticated_at.getTime() / 1000) };
  }

  /**
   * Uses a refresh token up and gives the next one. Of calls with one token at once, on whichever replicas, one gets it.
   * @throws RpcError as `check`
   */
  async rotate(refreshToken: string, client: ClientDetails, certifiedSeconds = 0): Promise<RefreshGrant> {
    const hash = refreshTokenHash(refreshToken);
    if (!hash) throw invalid();
    const next = newRefreshToken();
    // The new token is ours alone, so where it is already, a first try whose answer was lost took effect.
    const rows = await this.database.queryTwice<{ ends: number }>(
      `WITH spent AS (
         UPDATE refresh_tokens t SET used_at = now() FROM sessions s
         WHERE t.sha256 = $1 AND t.used_at IS NULL AND s.id = t.session_id AND ${LIVE} RETURNING t.session_id
       ), used AS (
         UPDATE sessions SET last_used_at = now(), certified_until = greatest(certified_until, now() + make_interval(secs => $3)), client_name = $4, client_address = $5
         WHERE id IN (SELECT session_id FROM spent) AND revoked_at IS NULL RETURNING id, ${EXPIRY}
       ), given AS (
         INSERT INTO refresh_tokens (sha256, session_id) SELECT $2, id FROM used RETURNING session_id
       )
       SELECT ends FROM used
       UNION ALL SELECT ${EXPIRY} FROM sessions JOIN refresh_tokens t ON t.session_id = sessions.id WHERE t.sha256 = $2`,
      [hash, hashOf(next), certifiedSeconds, client.name, client.address],
    );
    if (!rows[0]) throw (await this.find(hash))?.live === true ? raced() : ended();
    return { refreshToken: next, refreshTokenExpiresAt: rows[0].ends };
  }

  /** Notes that an access token was used to have a client certificate made. @throws RpcError UNAUTHENTICATED login.session_ended */
  async certify({ user, session }: { user: string; session: string }, certifiedSeconds: number): Promise<void> {
    const rows = await this.database.queryTwice(
      `UPDATE sessions s SET last_used_at = now(), certified_until = greatest(certified_until, now() + make_interval(secs => $3))
       WHERE s.id = $1 AND s.user_id = $2 AND ${LIVE} RETURNING s.id`,
      [session, user, certifiedSeconds],
    );
    if (rows.length === 0) throw ended();
  }

  /** @throws RpcError UNAUTHENTICATED login.session_ended */
  async requireLive({ user, session }: { user: string; session: string }): Promise<void> {
    const rows = await this.database.queryTwice(`SELECT 1 AS there FROM sessions s WHERE s.id = $1 AND s.user_id = $2 AND ${LIVE}`, [session, user]);
    if (rows.length === 0) throw ended();
  }

  /** Those that may go on, the one that was used last first. */
  async list(user: string): Promise<SessionRecord[]> {
    const rows = await this.database.queryTwice<{ id: string; created_at: Date; last_used_at: Date; client_name: string; client_address: string }>(
      `SELECT s.id, s.created_at, s.last_used_at, s.client_name, s.client_address FROM sessions s
       WHERE s.user_id = $1 AND ${LIVE} ORDER BY s.last_used_at DESC, s.id LIMIT 1000`,
      [user],
    );
    return rows.map((row) => ({
      session: row.id,
      createdAt: row.created_at,
      lastUsedAt: row.last_used_at,
      client: { name: row.client_name, address: row.client_address },
    }));
  }

  /**
   * Ends sessions of a user's: one of them, all, or all but one.
   * @returns how many ended by it
   */
  revoke(user: string, which: { session: string } | { except?: string }, because: RevokedBecause): Promise<number> {
    return this.database.transaction((queries) => revokeSessions(queries, user, which, because));
  }

  private async find(hash: Buffer): Promise<TokenRow | undefined> {
    const [row] = await this.database.queryTwice<TokenRow>(
      `SELECT s.id, s.user_id, s.authenticated_at, t.used_at IS NOT NULL AS used, ${LIVE} AS live,
         coalesce(t.used_at > now() - interval '${REUSE_GRACE_SECONDS} seconds', false) AS used_just_now
       FROM refresh_tokens t JOIN sessions s ON s.id = t.session_id WHERE t.sha256 = $1`,
      [hash],
    );
    return row;
  }

  private async endFamily(user: string, session: string): Promise<void> {
    await this.revoke(user, { session }, 'reuse');
    logger.warn({ user, session }, 'a refresh token was used twice: its session is ended');
  }
}

/** As `Sessions.revoke`, in the transaction of whatever else is decided with it. */
export async function revokeSessions(
  queries: Queries,
  user: string,
  which: { session: string } | { except?: string },
  because: RevokedBecause,
): Promise<number> {
  const [condition, values] =
    'session' in which ? ['id = $3', [which.session]] : which.except === undefined ? ['true', []] : ['id <> $3', [which.except]];
  const rows = await queries.query<{ id: string }>(
    `UPDATE sessions SET revoked_at = now(), revoked_because = $2 WHERE user_id = $1 AND revoked_at IS NULL AND ${condition} RETURNING id`,
    [user, because, ...(values as string[])],
  );
  for (const { id } of rows) await recordAudit(queries, { kind: 'session.revoked', detail: { user, session: id, because } });
  return rows.length;
}

/**
 * Sessions that were ended and whose client certificates may still be good, newest first.
 * Bounded, so that the list which they stand in stays one that can be sent.
 */
export async function recentlyRevokedSessions(queries: Queries): Promise<string[]> {
  const rows = await queries.query<{ id: string }>(
    `SELECT id FROM sessions WHERE revoked_at > now() - interval '1 day' AND certified_until > now() ORDER BY revoked_at DESC LIMIT 10000`,
  );
  return rows.map(({ id }) => id);
}

function hashOf(token: string): Buffer {
  return refreshTokenHash(token) as Buffer;
}
