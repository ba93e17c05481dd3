import { LogError } from './errors';
import type { RecordRange } from './errors';
import { Frontier } from './frontier';
import { forked, rolledBack } from './growth';
import type { KnownHead } from './growth';
import { leafHash } from './merkle';

/** A record as it is stored, with the hashes that were stored when it came into the tree. All of it may be wrong. */
export interface ShownRecord {
  /** Its place, from 0. */
  sequence: number;
  record: Buffer;
  leafSha256: Buffer;
  /** Of the subtrees of two leaves and more that it completes, smallest first. Empty where one is missing. */
  nodes: readonly Buffer[];
}

/**
 * Builds the tree anew from all records of a log, in memory that grows by the logarithm of their number. What was signed decides whether they are right;
 * the hashes that are stored beside them say which one is not.
 */
export class Replay {
  private readonly frontier = new Frontier();
  /** Records before that place are those of a head that was known before. */
  private certain = 0;
  private contradicted: KnownHead | undefined;
  /** Records whose stored hash is another one than theirs: the first where no known head says that they are right, and the first of all. */
  private suspects: RecordRange | undefined;
  private differing: RecordRange | undefined;

  /**
   * @param head of the log, signed
   * @param known heads that were seen before
   * @throws LogError log.rolled_back where the log had more records at one of these
   */
  constructor(
    private readonly head: KnownHead,
    private readonly known: readonly KnownHead[] = [],
  ) {
    for (const before of known) if (before.size > head.size) throw rolledBack(before, head.size);
    this.compareAll();
  }

  /** Records until now. */
  get size(): number {
    return this.frontier.size;
  }

  /** @throws LogError log.record_missing, log.record_wrong where it is not the next one */
  add({ sequence, record, leafSha256, nodes }: ShownRecord): void {
    const { size } = this;
    if (sequence > size) throw missing(size, sequence - 1);
    if (size === this.head.size) throw new LogError('log.record_wrong', `expected ${size} records, got more`);
    if (sequence < size)
      throw new LogError('log.record_wrong', `expected record ${size}, got record ${sequence} once more`, undefined, {
        records: { first: sequence, last: sequence },
      });
    const leaf = leafHash(record);
    if (!leaf.equals(leafSha256)) this.suspect({ first: sequence, last: sequence });
    this.frontier.append(leaf).forEach(({ level, hash }, nth) => {
      if (!nodes[nth]?.equals(hash)) this.suspect({ first: sequence + 1 - 2 ** level, last: sequence });
    });
    this.compareAll();
  }

  /**
   * Judges the records by the head, when all of them were added.
   * @throws LogError log.record_missing, log.record_wrong; log.forked where the head is of another log than a known one; log.tampered where the records
   * are what was signed, but not the hashes beside them, of which proofs are made
   */
  finish(): void {
    const { size, head } = this;
    if (size < head.size) throw missing(size, head.size - 1);
    if (!this.frontier.root().equals(head.root)) throw this.wrong(head.size);
    if (this.contradicted) throw forked(this.contradicted, { first: this.certain, last: this.contradicted.size - 1 });
    if (this.differing) {
      throw new LogError(
        'log.tampered',
        `all ${size} records are what was signed, but a hash that is stored for ${named(this.differing)} is another one`,
        undefined,
        { records: this.differing },
      );
    }
  }

  private compareAll(): void {
    for (const head of this.known) this.compare(head);
  }

  private compare(known: KnownHead): void {
    if (known.size !== this.size) return;
    if (!this.frontier.root().equals(known.root)) {
      this.contradicted ??= known;
      return;
    }
    this.certain = known.size;
    this.suspects = undefined;
  }

  private suspect(records: RecordRange): void {
    this.suspects ??= records;
    this.differing ??= records;
  }

  private wrong(size: number): LogError {
    if (this.suspects)
      return new LogError(
        'log.record_wrong',
        `${named(this.suspects)} is not what was recorded: it does not have the hash that it had`,
        undefined,
        { records: this.suspects },
      );
    const records = { first: this.certain, last: (this.contradicted?.size ?? size) - 1 };
    return new LogError('log.record_wrong', `${named(records)} is not what was signed`, undefined, { records });
  }
}

function missing(first: number, last: number): LogError {
  const records = { first, last };
  return new LogError(
    'log.record_missing',
    first === last ? `record ${first} is missing` : `records ${first} to ${last} are missing`,
    undefined,
    { records },
  );
}

function named({ first, last }: RecordRange): string {
  return first === last ? `record ${first}` : `one of the records ${first} to ${last}`;
}
