import { randomUUID } from 'node:crypto';
import { status } from '@grpc/grpc-js';
import { recordAudit } from '../audit/audit';
import { RpcError } from '../../runtime/rpc/errors';
import type { Database } from '../store/database';
import { newRefreshToken, refreshTokenHash } from '../tokens/refresh-token';
import {
  SESSION_EXPIRY,
  LIVE_SESSION,
  replaceTokens,
  REUSE_GRACE_SECONDS,
  REVOKED,
  rotate,
  rotatedSession,
  SESSION_IDLE_DAYS,
} from './rotation';
import type { Continued } from './rotation';
import type { AccessToken } from '../tokens/access-token';
import type { ClientDetails } from './client-details';
import type { Queries } from '../store/queries';
import { CodedError } from '../../errors/coded-error';
import { silent } from '../../runtime/log/log';
import type { Logger } from '../../runtime/log/log';

export { REUSE_GRACE_SECONDS, SESSION_IDLE_DAYS };
/** Every session ends after this: then the password is asked for again. */
export const SESSION_DAYS = 90;
/** Of one user. One more ends the one that was unused for the longest time. */
export const MAX_SESSIONS = 50;

/** A session that may go on. */
interface LiveSession {
  session: string;
  /** Opaque id of the account. */
  user: string;
  /** Unix seconds when a password was given, or an OpenID provider's word. */
  authenticatedAt: number;
}

/** Whose a session is. */
export interface SessionAccount {
  /** Opaque id. */
  id: string;
  username: string;
  /** Undefined of an account that has no password. */
  passwordHash: string | undefined;
}

interface NewSession {
  user: string;
  session?: string;
  /** Unix seconds. */
  authenticatedAt: number;
}

interface NewPasswordSession extends NewSession {
  /** What the password was compared with: no session begins by one that was changed meanwhile. */
  passwordHash: string;
  /** Another hash of the same password, which takes its place. */
  rehashed?: string | undefined;
}

/** The account is gone, or its password hash is another one than the one that was looked at: by a new password, or by another login that hashed it again. */
export class PasswordHashChanged extends CodedError<'internal.password_hash_changed'> {
  override readonly name = 'PasswordHashChanged';
}

export interface RefreshGrant {
  refreshToken: string;
  /** Unix seconds: it ends then unless it is used before. */
  refreshTokenExpiresAt: number;
  /** Of access tokens for the session from now on. */
  generation: number;
}

interface SessionRecord {
  session: string;
  createdAt: Date;
  lastUsedAt: Date;
  client: ClientDetails;
}

type RevokedBecause = 'logout' | 'user' | 'password' | 'reuse' | 'too_many' | 'revoked';

/** What became of the token that is shown, and of its session. */
interface TokenRow {
  id: string;
  user_id: string;
  authenticated_at: Date;
  retired: boolean;
  used_just_now: boolean;
  live: boolean;
  revoked: boolean;
}

function invalid(): RpcError {
  return new RpcError('login.refresh_invalid', status.UNAUTHENTICATED, 'the refresh token is not one of this service');
}

function ended(): RpcError {
  return new RpcError('login.session_ended', status.UNAUTHENTICATED, 'the session has ended');
}

/** Of an account that an administrator has revoked. */
export function revokedUser(): RpcError {
  return new RpcError('login.revoked', status.UNAUTHENTICATED, 'your account is revoked');
}

function raced(): RpcError {
  return new RpcError(
    'login.refresh_raced',
    status.ABORTED,
    'the refresh token was used at this moment by another call: try again with the new one',
  );
}

/** What belongs into the transaction that begins or goes on with a session. May be done twice, where the first answer was lost. */
export type TransactionHook = (queries: Queries) => Promise<void>;

const noHook: TransactionHook = () => Promise.resolve();

/** The sessions table. Refusals of the database: see Database. */
export class Sessions {
  constructor(
    private readonly database: Database,
    private readonly log: Logger = silent,
  ) {}

  /**
   * Begins a session of a user who has just shown a password.
   * @throws PasswordHashChanged; nothing has begun then
   */
  begin(
    { passwordHash, rehashed, ...begun }: NewPasswordSession,
    client: ClientDetails,
    certifiedSeconds = 0,
    hook = noHook,
  ): Promise<RefreshGrant> {
    const { user } = begun;
    return this.database.transaction(async (queries) => {
      // Whoever changes the password waits for this row, or this for them.
      const known = await queries.query(
        'SELECT id FROM accounts WHERE id = $1 AND password_hash = $2 FOR NO KEY UPDATE',
        [user, passwordHash],
      );
      if (known.length === 0)
        throw new PasswordHashChanged('internal.password_hash_changed', 'the password hash was changed meanwhile');
      if (rehashed !== undefined)
        await queries.query('UPDATE accounts SET password_hash = $2 WHERE id = $1', [user, rehashed]);
      const granted = await beginSession(queries, begun, client, certifiedSeconds);
      await hook(queries);
      return granted;
    });
  }

  /**
   * Whose a refresh token is, without using it up. One that is retired means that two have the session, its owner and a thief: nobody can tell which,
   * so it ends for both.
   * @throws RpcError UNAUTHENTICATED login.refresh_invalid, login.revoked, login.session_ended, login.refresh_reused; ABORTED login.refresh_raced
   */
  async check(refreshToken: string): Promise<LiveSession> {
    const hash = refreshTokenHash(refreshToken);
    const row = hash && (await this.find(hash));
    if (!row) throw invalid();
    const { id: session, user_id: user, authenticated_at: at } = row;
    if (row.revoked) throw revokedUser();
    if (!row.live) throw ended();
    // Late, but not after its time: whoever was a moment faster has the next one.
    if (row.used_just_now) throw raced();
    if (row.retired) {
      await this.endFamily(user, session);
      throw new RpcError(
        'login.refresh_reused',
        status.UNAUTHENTICATED,
        'the refresh token was used before: the session is ended, because somebody else may have it',
      );
    }
    return { session, user, authenticatedAt: Math.floor(at.getTime() / 1000) };
  }

  /** As `check`, for a hint: undefined for any token that isn't good, and nothing ends by it. */
  async recognize(refreshToken: string): Promise<LiveSession | undefined> {
    const hash = refreshTokenHash(refreshToken);
    const row = hash && (await this.find(hash));
    if (!row?.live || row.retired || row.revoked) return undefined;
    return { session: row.id, user: row.user_id, authenticatedAt: Math.floor(row.authenticated_at.getTime() / 1000) };
  }

  /**
   * Uses a refresh token and gives the next one. Of calls with one token at once, on whichever replicas, one gets it. The token stays good, after
   * `REUSE_GRACE_SECONDS`, until the next one is used: an answer that was lost costs nobody the session.
   * @throws RpcError as `check`, but for login.refresh_reused
   */
  async rotate(
    refreshToken: string,
    client: ClientDetails,
    certifiedSeconds = 0,
    hook = noHook,
  ): Promise<RefreshGrant> {
    const used = refreshTokenHash(refreshToken);
    if (!used) throw invalid();
    const next = newRefreshToken();
    const hashes = { used, next: hashOf(next) };
    const once = (): Promise<Continued | undefined> =>
      this.database.transaction(async (queries) => {
        const rotated = await rotate(queries, hashes, client, certifiedSeconds);
        if (rotated) await hook(queries);
        return rotated;
      });
    const continued = await once().catch(async (error: unknown) => {
      if (!(error instanceof RpcError && error.code === 'store.unavailable')) throw error;
      // The next token is ours alone: where it is there, the first try took effect.
      return (await rotatedSession(this.database, hashes.next)) ?? once();
    });
    // One that was good when the call began and is retired now: others were faster, which is no theft yet.
    if (!continued) throw (await this.find(used))?.live === true ? raced() : ended();
    return { refreshToken: next, refreshTokenExpiresAt: continued.ends, generation: continued.generation };
  }

  /** Notes that an access token was used to have a client certificate made. @throws RpcError UNAUTHENTICATED login.session_ended */
  async certify(
    { user, session }: { user: string; session: string },
    certifiedSeconds: number,
    hook = noHook,
  ): Promise<void> {
    await this.database.transactionTwice(async (queries) => {
      const rows = await queries.query(
        `UPDATE sessions s SET last_used_at = now(), certified_until = greatest(certified_until, now() + make_interval(secs => $3))
         WHERE s.id = $1 AND s.user_id = $2 AND ${LIVE_SESSION} RETURNING s.id`,
        [session, user, certifiedSeconds],
      );
      if (rows.length === 0) throw ended();
      await hook(queries);
    });
  }

  /**
   * The one check of whether an account and its session are alive, in one statement: the user is neither deleted nor revoked, the session has not ended,
   * and an access token, where it is one that is shown, is of its generation.
   * @throws RpcError UNAUTHENTICATED login.revoked, login.session_ended, login.token_invalid
   */
  async requireAlive({
    user,
    session,
    generation,
  }: Pick<AccessToken, 'user' | 'session'> & Partial<Pick<AccessToken, 'generation'>>): Promise<SessionAccount> {
    const [row] = await this.database.queryTwice<{
      username: string;
      password_hash: string | null;
      generation: number;
      live: boolean;
      revoked: boolean;
    }>(
      `SELECT a.username, a.password_hash, s.generation, ${LIVE_SESSION} AS live, ${REVOKED} AS revoked
       FROM sessions s JOIN accounts a ON a.id = s.user_id WHERE s.id = $1 AND s.user_id = $2`,
      [session, user],
    );
    if (row?.revoked === true) throw revokedUser();
    if (row?.live !== true) throw ended();
    if (generation !== undefined && generation !== row.generation)
      throw new RpcError(
        'login.token_invalid',
        status.UNAUTHENTICATED,
        'expected an access token that was issued after the password was changed, got an earlier one',
      );
    return { id: user, username: row.username, passwordHash: row.password_hash ?? undefined };
  }

  /** Those that may go on, the one that was used last first. */
  async list(user: string): Promise<SessionRecord[]> {
    const rows = await this.database.queryTwice<{
      id: string;
      created_at: Date;
      last_used_at: Date;
      client_name: string;
      client_address: string;
    }>(
      `SELECT s.id, s.created_at, s.last_used_at, s.client_name, s.client_address FROM sessions s
       WHERE s.user_id = $1 AND ${LIVE_SESSION} ORDER BY s.last_used_at DESC, s.id LIMIT 1000`,
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
      `SELECT s.id, s.user_id, s.authenticated_at, t.retired_at IS NOT NULL AS retired, ${LIVE_SESSION} AS live, ${REVOKED} AS revoked,
         coalesce(t.used_at > now() - interval '${REUSE_GRACE_SECONDS} seconds', false) AS used_just_now
       FROM refresh_tokens t JOIN sessions s ON s.id = t.session_id WHERE t.sha256 = $1`,
      [hash],
    );
    return row;
  }

  private async endFamily(user: string, session: string): Promise<void> {
    await this.revoke(user, { session }, 'reuse');
    this.log.warn({ user, session }, 'a refresh token was used after its successor: its session is ended');
  }
}

/** Begins a session in the transaction of what shows who the user is, which holds the account's row: one login after the other comes here. */
export async function beginSession(
  queries: Queries,
  { user, session = randomUUID(), authenticatedAt }: NewSession,
  client: ClientDetails,
  certifiedSeconds = 0,
): Promise<RefreshGrant> {
  const refreshToken = newRefreshToken();
  const [row] = await queries.query<{ ends: number }>(
    `INSERT INTO sessions (id, user_id, authenticated_at, expires_at, certified_until, client_name, client_address)
     VALUES ($1, $2, to_timestamp($3), now() + interval '${SESSION_DAYS} days', now() + make_interval(secs => $4), $5, $6) RETURNING ${SESSION_EXPIRY}`,
    [session, user, authenticatedAt, certifiedSeconds, client.name, client.address],
  );
  await queries.query('INSERT INTO refresh_tokens (sha256, session_id) VALUES ($1, $2)', [
    hashOf(refreshToken),
    session,
  ]);
  await endOldest(queries, user, session);
  // What ended long ago is of no use to anyone.
  await queries.query(
    `DELETE FROM sessions WHERE user_id = $1 AND least(revoked_at, expires_at, last_used_at + interval '${SESSION_IDLE_DAYS} days') < now() - interval '1 day'`,
    [user],
  );
  return { refreshToken, refreshTokenExpiresAt: row!.ends, generation: 0 };
}

/** Ends what is too much of a user's sessions, whatever was unused the longest first. */
async function endOldest(queries: Queries, user: string, newest: string): Promise<void> {
  const tooMany = await queries.query<{ id: string }>(
    `SELECT s.id FROM sessions s WHERE s.user_id = $1 AND s.id <> $2 AND ${LIVE_SESSION} ORDER BY s.last_used_at DESC, s.id OFFSET $3`,
    [user, newest, MAX_SESSIONS - 1],
  );
  for (const { id } of tooMany) await revokeSessions(queries, user, { session: id }, 'too_many');
}

/**
 * Ends all other sessions of a user who goes on in this one with tokens that nobody else can have, in the transaction of what changed. Access tokens that
 * are out are over too.
 * @returns with how many ended
 * @throws RpcError UNAUTHENTICATED login.session_ended
 */
export async function endOtherSessions(
  queries: Queries,
  { user, session }: { user: string; session: string },
  because: RevokedBecause,
): Promise<RefreshGrant & { ended: number }> {
  const refreshToken = newRefreshToken();
  const continued = await replaceTokens(queries, session, hashOf(refreshToken));
  if (!continued) throw ended();
  return {
    refreshToken,
    refreshTokenExpiresAt: continued.ends,
    generation: continued.generation,
    ended: await revokeSessions(queries, user, { except: session }, because),
  };
}

/** As `Sessions.revoke`, in the transaction of whatever else is decided with it. */
export async function revokeSessions(
  queries: Queries,
  user: string,
  which: { session: string } | { except?: string },
  because: RevokedBecause,
): Promise<number> {
  const [condition, values] =
    'session' in which
      ? ['id = $3', [which.session]]
      : which.except === undefined
        ? ['true', []]
        : ['id <> $3', [which.except]];
  const rows = await queries.query<{ id: string }>(
    `UPDATE sessions SET revoked_at = now(), revoked_because = $2 WHERE user_id = $1 AND revoked_at IS NULL AND ${condition} RETURNING id`,
    [user, because, ...(values as string[])],
  );
  for (const { id } of rows)
    await recordAudit(queries, { kind: 'session.revoked', detail: { user, session: id, because } });
  return rows.length;
}

/**
 * Sessions that were ended and whose client certificates may still be good, newest first.
 * Bounded, so that the list which they stand in stays one that can be sent.
 */
export async function recentlyRevokedSessions(queries: Queries): Promise<string[]> {
  const rows = await queries.query<{ id: string }>(
    `SELECT id FROM sessions WHERE revoked_at > now() - interval '1 day' AND certified_until > now() ORDER BY revoked_at DESC LIMIT 8000`,
  );
  return rows.map(({ id }) => id);
}

function hashOf(token: string): Buffer {
  return refreshTokenHash(token) as Buffer;
}
