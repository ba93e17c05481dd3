import { sha256Hex } from '../../attestation/crypto';
import type { Queries } from '../store/queries';

/** How much a bucket holds, and how fast it leaks: `burst` at once, and as many again in `seconds`. */
export interface BucketSize {
  burst: number;
  seconds: number;
}

/** Longer than any bucket takes to leak; then its row says nothing. */
const KEEP = '1 day';
const CLEANING_SHARE = 0.01;

/** The name under which something is counted: neither addresses nor usernames stand in the table. */
export function bucketKey(kind: string, ...subject: string[]): string {
  return `${kind}:${sha256Hex(JSON.stringify(subject)).slice(0, 32)}`;
}

/**
 * Leaking buckets in SQL, so that all replicas count together. One statement looks and counts: of calls at once, whichever replicas they reach,
 * no more than fit are let in. Refusals of the database: see Database.
 */
export class Buckets {
  constructor(private readonly database: Queries) {}

  /** Puts one in, where there is room. @returns 0, or the seconds until there will be room; then nothing was put in */
  async take(key: string, { burst, seconds }: BucketSize): Promise<number> {
    const rate = burst / seconds;
    const leaked = 'greatest(0, l.level - greatest(0, extract(epoch FROM now() - l.at)) * $3::float8)';
    const [row] = await this.database.query<{ level: number; taken: boolean }>(
      `INSERT INTO limits AS l (key, level, at, taken) VALUES ($1, 1, now(), true)
       ON CONFLICT (key) DO UPDATE SET
         taken = ${leaked} + 1 <= $2::float8,
         level = ${leaked} + CASE WHEN ${leaked} + 1 <= $2::float8 THEN 1 ELSE 0 END,
         at = greatest(l.at, now())
       RETURNING level, taken`,
      [key, burst, rate],
    );
    if (Math.random() < CLEANING_SHARE)
      await this.database.query(`DELETE FROM limits WHERE at < now() - interval '${KEEP}'`);
    return row!.taken ? 0 : Math.max(1, Math.ceil((row!.level + 1 - burst) / rate));
  }

  /** Takes one out again: it should not have counted. */
  async giveBack(...keys: string[]): Promise<void> {
    const places = keys.map((_, index) => `$${index + 1}`).join(', ');
    await this.database.query(`UPDATE limits SET level = greatest(0, level - 1) WHERE key IN (${places})`, keys);
  }
}
