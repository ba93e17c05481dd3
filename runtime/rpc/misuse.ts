import type { Clock } from '../clock';

const SECONDS = 10;
/** After one too many, an address is let in again after so long, twice as long each next time, until it has been quiet for as long as its bucket takes to leak. */
const CLOSED_MS = { first: 5_000, most: 60_000 };
/** Addresses that are remembered. Beyond that, those that have misused nothing of late are forgotten. */
const MAX_ADDRESSES = 10_000;

interface Bucket {
  level: number;
  at: number;
  closedUntil: number;
  /** How often it was closed in a row. */
  closings: number;
}

/**
 * Calls that are worth nothing to their callers, by address, in leaking buckets: those that are given up (CVE-2023-44487), and those that are refused for who makes
 * them, as a login that is sent again. They cost a server almost as much as others, and themselves nothing. HTTP/2 itself counts by connection, of which there may
 * be many.
 */
export class Misuse {
  private readonly buckets = new Map<string, Bucket>();

  /** @param most at once, and as many again in ten seconds */
  constructor(
    private readonly most: number,
    private readonly clock: Clock,
  ) {}

  /** Counts one more. @returns true where that is more than there may be: the address is closed for a while */
  isTooMuch(address: string): boolean {
    const now = this.clock.monotonic();
    const bucket = this.leaked(address, now);
    this.buckets.set(address, bucket);
    if (bucket.closedUntil > now) return true;
    if (bucket.level + 1 > this.most) {
      bucket.closedUntil = now + Math.min(CLOSED_MS.most, CLOSED_MS.first * 2 ** bucket.closings);
      bucket.closings += 1;
      return true;
    }
    bucket.level += 1;
    if (this.buckets.size > MAX_ADDRESSES) this.forget(now);
    return false;
  }

  /** Whether an address misused too much of late to be let in again. */
  isClosedTo(address: string): boolean {
    return (this.buckets.get(address)?.closedUntil ?? 0) > this.clock.monotonic();
  }

  /** Nothing leaks while it is closed. */
  private leaked(address: string, now: number): Bucket {
    const bucket = this.buckets.get(address) ?? { level: 0, at: now, closedUntil: 0, closings: 0 };
    const since = Math.max(0, now - Math.max(bucket.at, bucket.closedUntil));
    const level = Math.max(0, bucket.level - (since / (SECONDS * 1000)) * this.most);
    return { ...bucket, level, at: now, closings: level === 0 ? 0 : bucket.closings };
  }

  private forget(now: number): void {
    for (const address of this.buckets.keys()) {
      const { level, closedUntil } = this.leaked(address, now);
      if (level === 0 && closedUntil <= now) this.buckets.delete(address);
    }
    // A flood from more addresses than that has other bounds.
    if (this.buckets.size > MAX_ADDRESSES) this.buckets.clear();
  }
}
