import type { SeatClaims } from '../../attestation/seats/token';
import { every } from '../../runtime/clock';
import type { Clock, Timer } from '../../runtime/clock';
import { silent } from '../../runtime/log/log';
import type { Logger } from '../../runtime/log/log';
import { RpcError } from '../../runtime/rpc/errors';
import { workForAll } from '../../runtime/turns/requester';
import type { Database } from '../store/database';
import type { Queries } from '../store/queries';

/** How often a service says that it reaches the database. */
const MARK_MS = 5_000;
/** Without any mark for so long, heartbeats could not be answered. Shorter than any seat minds. */
const OUTAGE_SECONDS = 15;
/** A service that was there in an outage says so this long after another one, which was not, has ended it by its mark. */
const WITNESS_SECONDS = 60;

interface SeatWatchOptions {
  /** Life of a seat without heartbeat. */
  windowSeconds: number;
  /** For which a seat outlives an outage at most. 0: not at all. */
  outageSeconds: number;
  clock: Clock;
  log?: Logger;
}

/**
 * An outage of the database, as login itself sees it: heartbeats that nobody could answer don't count against a seat. While it lasts, a seat that counted when it
 * began stays by tokens that login signs without the database, for as long as `outageSeconds`. When it is over, whatever counted at its beginning is made to
 * count as long as such a token, before anybody else takes a seat. No client has a hand in that: a service marks in the database every few seconds that it is
 * there, and only a service whose own marks failed, in a time in which no other one's was made either, lets seats stay.
 */
export class SeatWatch {
  private timer: Timer | undefined;
  private marking: Promise<void> | undefined;
  /** Of this service's last mark, by the database's clock. */
  private markedAt: Date | undefined;
  private markedMs = 0;
  private failed = false;

  constructor(
    private readonly database: Pick<Database, 'transaction'>,
    private readonly options: SeatWatchOptions,
  ) {}

  start(): void {
    const mark = (): void => void this.mark().catch(() => undefined);
    mark();
    this.timer = every(this.options.clock, MARK_MS, mark);
  }

  async stop(): Promise<void> {
    this.timer?.cancel();
    await this.marking?.catch(() => undefined);
  }

  /** Before a seat is taken: whoever lost the database says first what counted meanwhile. @throws RpcError store.unavailable */
  async settle(): Promise<void> {
    if (this.failed) await this.mark();
  }

  /** Whether the database is away, and was long enough. */
  get isOut(): boolean {
    return this.failed && this.options.clock.monotonic() - this.markedMs >= OUTAGE_SECONDS * 1000;
  }

  /**
   * What a seat's token becomes while the database is away.
   * @param claims of a token that this installation signed, which may have ended
   * @returns undefined where the database isn't away, the seat had ended before, or the outage takes too long
   */
  stay(claims: SeatClaims): SeatClaims | undefined {
    const { clock, windowSeconds, outageSeconds } = this.options;
    if (!this.isOut || this.markedAt === undefined) return undefined;
    const grantedUntil = claims.grantedUntil ?? claims.expiresAt;
    if (grantedUntil * 1000 <= this.markedAt.getTime()) return undefined;
    const now = Math.floor(clock.now() / 1000);
    const expiresAt = Math.min(now + windowSeconds, grantedUntil + outageSeconds);
    return expiresAt > now ? { ...claims, grantedUntil, expiresAt } : undefined;
  }

  /** Says that this service reaches the database, now. Those who ask at once share one mark. @throws RpcError store.unavailable */
  mark(): Promise<void> {
    this.marking ??= workForAll(() => this.markOnce()).finally(() => (this.marking = undefined));
    return this.marking;
  }

  private async markOnce(): Promise<void> {
    try {
      this.markedAt = await this.database.transaction((queries) => this.record(queries, this.failed));
      this.markedMs = this.options.clock.monotonic();
      this.failed = false;
    } catch (error) {
      // Whatever else goes wrong here, heartbeats are answered.
      if (error instanceof RpcError && error.code === 'store.unavailable') this.failed = true;
      else
        (this.options.log ?? silent).error(
          { err: error },
          'the mark of a service that reaches the database was not made',
        );
      throw error;
    }
  }

  private async record(queries: Queries, isWitness: boolean): Promise<Date> {
    const [before] = await queries.query<{ at: Date; gap_from: Date | null; gap: boolean; open: boolean }>(
      `SELECT at, gap_from, at < clock_timestamp() - make_interval(secs => $1) AS gap,
         NOT extended AND coalesce(gap_until > clock_timestamp() - make_interval(secs => $2), false) AS open
       FROM seat_watch FOR UPDATE`,
      [OUTAGE_SECONDS, WITNESS_SECONDS],
    );
    const from = before?.gap ? before.at : before?.open ? before.gap_from : null;
    if (isWitness && from) await this.extend(queries, from);
    const [{ at } = { at: new Date(0) }] = await queries.query<{ at: Date }>(
      `UPDATE seat_watch SET at = clock_timestamp(),
         gap_from = CASE WHEN $1 THEN at ELSE gap_from END,
         gap_until = CASE WHEN $1 THEN clock_timestamp() ELSE gap_until END,
         extended = CASE WHEN $1 THEN $2 ELSE extended OR $2 END
       RETURNING at`,
      [before?.gap ?? false, isWitness && from !== null],
    );
    return at;
  }

  /** No token that was signed meanwhile ends later. */
  private async extend(queries: Queries, from: Date): Promise<void> {
    const { windowSeconds, outageSeconds, log = silent } = this.options;
    if (outageSeconds === 0) return;
    const stayed = await queries.query(
      `UPDATE seats SET expires_at = greatest(expires_at, least(
           date_trunc('second', clock_timestamp()) + make_interval(secs => $2), expires_at + make_interval(secs => $3)))
       WHERE freed_at IS NULL AND expires_at > $1 RETURNING id`,
      [from, windowSeconds, outageSeconds],
    );
    log.warn({ since: from.toISOString(), seats: stayed.length }, 'the database was away: seats that counted stay');
  }
}
