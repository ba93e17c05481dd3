import type { Clock } from '../clock';

const SECONDS = 10;
/** After one too many, an address opens no connection for so long: each of them may begin hundreds of calls before the first is reset. */
const CLOSED_MS = 5_000;
/** Addresses that are remembered. Beyond that, those that have given up nothing of late are forgotten. */
const MAX_ADDRESSES = 10_000;

/**
 * Calls that their callers gave up, by address, in leaking buckets. Whoever begins calls and resets them costs a server almost as much as if they were made, and
 * themselves nothing (CVE-2023-44487). HTTP/2 itself counts by connection, of which there may be many.
 */
export class Resets {
  private readonly buckets = new Map<string, { level: number; at: number; closedUntil: number }>();

  /** @param most at once, and as many again in ten seconds */
  constructor(
    private readonly most: number,
    private readonly clock: Clock,
  ) {}

  /** Counts one more. @returns true where that is more than there may be */
  isTooMany(address: string): boolean {
    const now = this.clock.monotonic();
    const level = this.leaked(this.buckets.get(address), now);
    if (level + 1 > this.most) {
      this.buckets.set(address, { level, at: now, closedUntil: now + CLOSED_MS });
      return true;
    }
    this.buckets.set(address, { level: level + 1, at: now, closedUntil: 0 });
    if (this.buckets.size > MAX_ADDRESSES) this.forget(now);
    return false;
  }

  /** Whether an address gave up too many of late to be let in again. */
  isClosedTo(address: string): boolean {
    return (this.buckets.get(address)?.closedUntil ?? 0) > this.clock.monotonic();
  }

  private leaked(bucket: { level: number; at: number } | undefined, now: number): number {
    return bucket === undefined ? 0 : Math.max(0, bucket.level - ((now - bucket.at) / (SECONDS * 1000)) * this.most);
  }

  private forget(now: number): void {
    for (const [address, bucket] of this.buckets) if (this.leaked(bucket, now) === 0) this.buckets.delete(address);
    // A flood from more addresses than that has other bounds.
    if (this.buckets.size > MAX_ADDRESSES) this.buckets.clear();
  }
}
