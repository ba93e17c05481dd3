import { randomUUID } from 'node:crypto';
import { status } from '@grpc/grpc-js';
import { recordAudit } from '../audit/audit';
import { RpcError } from '../../runtime/rpc/errors';
import type { Database } from '../store/database';
import type { SeatClaims } from '../../attestation/seats/token';
import type { Queries } from '../store/queries';
import type { ServiceCode } from '../../errors/service';

/** Among which seats a user's count: those of a licence, with all of its users, or the account's own. */
export interface SeatPool {
  /** Id of the licence; absent: the account's own. */
  licence?: string | undefined;
  /** At once. */
  seats: number;
}

/** A session that was shown to run. */
export interface SeatSession {
  /** Opaque id of the account. */
  user: string;
  /** The login session of its client. */
  session: string;
  /** 32 bytes; no two sessions have the same. */
  tlsExporter: Buffer;
  /** SubjectPublicKeyInfo of the enclave's TLS key, DER: signs heartbeats. */
  enclaveKey: Buffer;
  /** Name among the user's enclaves. */
  enclave: string;
  workloadUid: string;
  node: string;
}

/** A seat of a user's that counts now. */
interface SeatRecord {
  seat: string;
  session: string;
  clientName: string;
  enclave: string;
  workloadUid: string;
  node: string;
  takenAt: Date;
  renewedAt: Date;
  expiresAt: Date;
  /** Given up: it is renewed no more. */
  ended: boolean;
}

/** A row, whether it counts or not. */
interface SeatRow {
  id: string;
  user_id: string;
  session_id: string;
  licence_id: string | null;
  tls_exporter: Buffer;
  enclave_key: Buffer;
  workload_uid: string;
  expires_at: Date;
  freed_at: Date | null;
  ended_at: Date | null;
}

const ROW =
  'id, user_id, session_id, licence_id, tls_exporter, enclave_key, workload_uid, expires_at, freed_at, ended_at';
/** The database's clock, as it is once a lock is held: now() would be the transaction's start. */
const LIVE = 'freed_at IS NULL AND expires_at > clock_timestamp()';
/** Or lapsed, and what runs by it has its grace. */
const HOLDS = 'freed_at IS NULL AND expires_at + make_interval(secs => $2) > clock_timestamp()';
/** Nothing runs by it any more: as if its grace were over. */
const GONE = 'UPDATE seats SET expires_at = least(expires_at, clock_timestamp()) - make_interval(secs => $2)';
/** Whole seconds, as tokens have them. */
const WINDOW = "date_trunc('second', clock_timestamp()) + make_interval(secs => $2)";

function toClaims(row: SeatRow): SeatClaims {
  return {
    seat: row.id,
    user: row.user_id,
    workloadUid: row.workload_uid,
    tlsExporter: row.tls_exporter,
    expiresAt: Math.floor(row.expires_at.getTime() / 1000),
  };
}

function refusal(code: ServiceCode, grpcStatus: status, message: string): RpcError {
  return new RpcError(code, grpcStatus, message);
}

const freed = (): RpcError => refusal('seat.freed', status.FAILED_PRECONDITION, 'the seat was freed');
const otherSession = (): RpcError =>
  refusal('seat.other_session', status.PERMISSION_DENIED, 'the seat is for another session');
const lapsed = (): RpcError =>
  refusal('seat.lapsed', status.FAILED_PRECONDITION, 'the seat has lapsed: its heartbeat was missed');

/**
 * The seats table. One that counts is neither freed nor without heartbeat for longer than the window. One is freed by its enclave's word that its connection is
 * closed; whoever gives it up without that only ends its heartbeats, because its last token goes on working until it ends. After that what runs by it has its grace,
 * and it counts for its own user until that is over: otherwise a client that sends no heartbeat would have a session for each window of the grace. Whoever makes one
 * count holds the row of its licence or account, so on all replicas together there are never more than there may be. Refusals of the database: see Database.
 */
export class Seats {
  /**
   * @param windowSeconds life of a seat without heartbeat
   * @param graceSeconds for which enclaves let run what was begun by a seat that has lapsed
   */
  constructor(
    private readonly database: Database,
    private readonly windowSeconds: number,
    private readonly graceSeconds: number,
  ) {}

  /**
   * Takes a seat. A session that has one gets the same, no longer than before: evidence that is shown twice is no heartbeat.
   * @throws RpcError RESOURCE_EXHAUSTED seat.none_free; FAILED_PRECONDITION seat.freed, seat.lapsed: the session had one, and it is over;
   * PERMISSION_DENIED seat.other_session
   */
  take(session: SeatSession, pool: SeatPool): Promise<SeatClaims> {
    const { user, tlsExporter, enclaveKey, enclave, workloadUid, node } = session;
    return this.database.transaction(async (queries) => {
      await lock(queries, pool, user);
      const [known] = await queries.query<SeatRow & { live: boolean }>(
        `SELECT ${ROW}, ${LIVE} AS live FROM seats WHERE tls_exporter = $1`,
        [tlsExporter],
      );
      // Evidence gets around, and a user's own code can have evidence made of any exporter: whose seat it is, the exporter alone doesn't tell.
      if (known && (known.user_id !== user || known.workload_uid !== workloadUid)) throw otherSession();
      if (known?.freed_at || known?.ended_at) throw freed();
      if (known) {
        if (known.live) return toClaims(known);
        throw lapsed();
      }
      // An enclave runs once: what had seats in one before this is gone, or shows by its next heartbeat that it isn't.
      await queries.query(`${GONE} WHERE user_id = $1 AND enclave = $3 AND workload_uid <> $4 AND ${HOLDS}`, [
        user,
        this.graceSeconds,
        enclave,
        workloadUid,
      ]);
      await this.requireFreeSeat(queries, pool, user);
      const [row] = await queries.query<SeatRow>(
        `INSERT INTO seats (id, user_id, session_id, licence_id, tls_exporter, enclave_key, enclave, workload_uid, node, taken_at, renewed_at, expires_at)
         VALUES ($1, $3, $4, $5, $6, $7, $8, $9, $10, clock_timestamp(), clock_timestamp(), ${WINDOW}) RETURNING ${ROW}`,
        [
          randomUUID(),
          this.windowSeconds,
          user,
          session.session,
          pool.licence ?? null,
          tlsExporter,
          enclaveKey,
          enclave,
          workloadUid,
          node,
        ],
      );
      await queries.query(
        `DELETE FROM seats WHERE user_id = $1 AND expires_at < now() - interval '1 day' - make_interval(secs => $2)`,
        [user, this.graceSeconds],
      );
      return toClaims(row as SeatRow);
    });
  }

  async find(seat: string): Promise<SeatRow | undefined> {
    const [row] = await this.database.queryTwice<SeatRow>(`SELECT ${ROW} FROM seats WHERE id = $1`, [seat]);
    return row;
  }

  /**
   * Moves a seat's end on. One that has lapsed meanwhile, or counts among others than before, is taken anew, where there is room.
   * @param row as `find` gave it
   * @param at of the heartbeat, Unix milliseconds: each heartbeat counts once
   * @throws RpcError as `take`; FAILED_PRECONDITION seat.heartbeat_old
   */
  renew({ id, user_id: user }: SeatRow, at: number, pool: SeatPool): Promise<SeatClaims> {
    return this.database.transaction(async (queries) => {
      await lock(queries, pool, user);
      const [now] = await queries.query<SeatRow & { counts: boolean; old: boolean }>(
        `SELECT ${ROW}, heartbeat_ms >= $2 AS old, ${LIVE} AND licence_id IS NOT DISTINCT FROM $3 AS counts FROM seats WHERE id = $1 FOR UPDATE`,
        [id, at, pool.licence ?? null],
      );
      if (!now || now.freed_at || now.ended_at) throw freed();
      if (now.old)
        throw refusal(
          'seat.heartbeat_old',
          status.FAILED_PRECONDITION,
          'expected a newer heartbeat than the one before',
        );
      // What is held stays held, also where there are fewer seats than before.
      if (!now.counts) await this.requireFreeSeat(queries, pool, user, id);
      const [row] = await queries.query<SeatRow>(
        `UPDATE seats SET expires_at = ${WINDOW}, renewed_at = clock_timestamp(), heartbeat_ms = $3, licence_id = $4 WHERE id = $1 RETURNING ${ROW}`,
        [id, this.windowSeconds, at, pool.licence ?? null],
      );
      return toClaims(row as SeatRow);
    });
  }

  /** The session is over, by its client's word: the seat is renewed no more. That it is over already is no error. */
  async end({ seat, user }: Pick<SeatClaims, 'seat' | 'user'>): Promise<void> {
    await this.database.queryTwice(
      'UPDATE seats SET ended_at = now() WHERE id = $1 AND user_id = $2 AND ended_at IS NULL',
      [seat, user],
    );
  }

  /** Of a user's, those of these ids that may still count. */
  async findOf(user: string, seats: readonly string[]): Promise<SeatRow[]> {
    return this.database.queryTwice<SeatRow>(
      `SELECT ${ROW} FROM seats WHERE user_id = $1 AND id::text = ANY(string_to_array($3, ',')) AND ${HOLDS}`,
      [user, this.graceSeconds, seats.join(',')],
    );
  }

  /** Frees seats whose enclaves have said that their connections are closed. */
  async close(user: string, seats: readonly string[]): Promise<void> {
    await this.database.queryTwice(
      `UPDATE seats SET freed_at = now() WHERE user_id = $1 AND id::text = ANY(string_to_array($2, ',')) AND freed_at IS NULL`,
      [user, seats.join(',')],
    );
  }

  /**
   * Gives seats of a user's up by their own word.
   * @param seats ids; none: all
   * @returns how many were given up by it
   */
  free(user: string, seats: readonly string[]): Promise<number> {
    return this.database.transaction(async (queries) => {
      const rows = await queries.query<{ id: string }>(
        `UPDATE seats SET ended_at = now() WHERE user_id = $1 AND ${LIVE} AND ended_at IS NULL AND ($2 = '' OR id::text = ANY(string_to_array($2, ','))) RETURNING id`,
        [user, seats.join(',')],
      );
      for (const { id: seat } of rows) await recordAudit(queries, { kind: 'seat.freed', detail: { user, seat } });
      return rows.length;
    });
  }

  /** An enclave has ended, and with it what had a grace: its seats are free, unless a heartbeat says otherwise. */
  async lapse({
    user,
    enclave = '',
    workloadUid = '',
  }: {
    user: string;
    enclave?: string;
    workloadUid?: string;
  }): Promise<void> {
    await this.database.queryTwice(
      `${GONE} WHERE user_id = $1 AND ($3 = '' OR enclave = $3) AND ($4 = '' OR workload_uid = $4) AND ${HOLDS}`,
      [user, this.graceSeconds, enclave, workloadUid],
    );
  }

  /** The user's seats that count now, the one that was taken last first, with the end until which they do; and how many count among the same. */
  async list(user: string, pool: SeatPool): Promise<{ seats: SeatRecord[]; taken: number }> {
    const rows = await this.database.queryTwice<
      Record<'id' | 'session_id' | 'client_name' | 'enclave' | 'workload_uid' | 'node', string> &
        Record<'taken_at' | 'renewed_at' | 'expires_at', Date> & { ended: boolean }
    >(
      `SELECT s.id, s.session_id, c.client_name, s.enclave, s.workload_uid, s.node, s.taken_at, s.renewed_at,
         CASE WHEN ${ofSeats(LIVE)} THEN s.expires_at ELSE s.expires_at + make_interval(secs => $2) END AS expires_at,
         s.ended_at IS NOT NULL OR NOT (${ofSeats(LIVE)}) AS ended
       FROM seats s JOIN sessions c ON c.id = s.session_id WHERE s.user_id = $1 AND ${ofSeats(HOLDS)}
       ORDER BY s.taken_at DESC, s.id LIMIT 100`,
      [user, this.graceSeconds],
    );
    const seats = rows.map((row) => ({
      seat: row.id,
      session: row.session_id,
      clientName: row.client_name,
      enclave: row.enclave,
      workloadUid: row.workload_uid,
      node: row.node,
      takenAt: row.taken_at,
      renewedAt: row.renewed_at,
      expiresAt: row.expires_at,
      ended: row.ended,
    }));
    return { seats, taken: await this.count(this.database, pool, user) };
  }

  /** Those of a pool that count, and of this user's own those whose grace isn't over; but for one. */
  private async count(queries: Queries, { licence }: SeatPool, user: string, except = ''): Promise<number> {
    const among = licence === undefined ? 'licence_id IS NULL AND user_id = $1' : 'licence_id = $4';
    const [row] = await queries.query<{ taken: number }>(
      `SELECT count(*)::int AS taken FROM seats
       WHERE ${among} AND id::text <> $3 AND (${LIVE} OR (user_id = $1 AND ${HOLDS}))`,
      [user, this.graceSeconds, except, ...(licence === undefined ? [] : [licence])],
    );
    return row?.taken ?? 0;
  }

  private async requireFreeSeat(queries: Queries, pool: SeatPool, user: string, except?: string): Promise<void> {
    const taken = await this.count(queries, pool, user, except);
    if (taken < pool.seats) return;
    const whose = pool.licence === undefined ? 'your account' : 'your licence';
    throw refusal(
      'seat.none_free',
      status.RESOURCE_EXHAUSTED,
      `no seat is free: ${taken} of the ${pool.seats} of ${whose} are taken`,
    );
  }
}

function ofSeats(condition: string): string {
  return condition.replaceAll(/freed_at|expires_at/g, 's.$&');
}

/** Whoever takes a seat of the same waits for this transaction's end. */
async function lock(queries: Queries, { licence }: SeatPool, user: string): Promise<void> {
  if (licence !== undefined) await queries.query('SELECT id FROM licences WHERE id = $1 FOR NO KEY UPDATE', [licence]);
  else await queries.query('SELECT id FROM accounts WHERE id = $1 FOR NO KEY UPDATE', [user]);
}
