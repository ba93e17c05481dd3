import { randomBytes } from 'node:crypto';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { distFolder } from '../../runtime/config/dist';
import { isHashable, prehash } from './prehash';
import { Threads } from './threads';
import type { Requester } from './threads';
import type { Logger } from '../../runtime/log/log';

interface HasherOptions {
  /** bcrypt's cost: work doubles with each. */
  cost: number;
  /** Threads at most; as many as the machine has processors unless told. */
  threads?: number;
  /** Passwords that may wait for a thread. */
  queue: number;
  /** Silent, unless told. */
  log?: Logger;
}

/** Names how the password came to bcrypt, so that another way can be told from it later. */
const SCHEME = 'hmac-sha256+bcrypt:';

/** bcrypt's least cost. */
const LEAST_COST = 4;
/** Version and cost of a bcrypt string. */
const COST = /^\$2[aby]\$(\d\d)\$/;

function costOf(hash: string): number {
  return Number(COST.exec(hash)?.[1] ?? 0);
}

/** A bcrypt string of the cost, of no password. */
function dummyHash(cost: number): string {
  const alphabet = './ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789';
  const letters = Array.from(randomBytes(53), (byte) => alphabet[byte & 63]);
  // The 22nd letter of the salt and the 31st of the hash hold fewer than 6 bits.
  letters[21] = '.';
  letters[52] = '.';
  return `$2b$${String(cost).padStart(2, '0')}$${letters.join('')}`;
}

/** The dictionaries of zxcvbn and what it makes of them. */
const JUDGE_MEMORY_MIB = 128;

/** Hashes, checks and judges passwords in threads of their own. Refusals: see Threads.run. */
export class PasswordHasher {
  private readonly pool: Threads;
  /** One is enough: a password is judged when it is new. */
  private readonly judge: Threads;
  /** What an unknown user's password is compared with. */
  private readonly dummy: string;
  /** By cost: the sum of what stands below a cost takes the time of that cost, less the first. */
  private readonly padding: string[];

  constructor(private readonly options: HasherOptions) {
    this.pool = new Threads({
      program: join(distFolder(), 'password-worker.cjs'),
      threads: options.threads ?? availableParallelism(),
      queue: options.queue,
      log: options.log,
    });
    this.judge = new Threads({
      program: join(distFolder(), 'password-judge.cjs'),
      threads: 1,
      queue: options.queue,
      log: options.log,
      memoryMiB: JUDGE_MEMORY_MIB,
    });
    this.dummy = dummyHash(options.cost);
    this.padding = Array.from({ length: options.cost }, (_, cost) => dummyHash(cost));
  }

  /** @returns the text to store, algorithm and salt included */
  async hash(password: string, requester?: Requester): Promise<string> {
    return `${SCHEME}${String(await this.pool.run({ kind: 'hash', prehash: prehash(password), cost: this.options.cost }, requester))}`;
  }

  /**
   * Checks a password. An account that isn't there (`stored` undefined) takes the same work and is never right, so time
   * doesn't tell who has an account. A hash of a lower cost, from before the setting was raised, takes the work of the present one: comparing costs
   * 2^c, and 2^c + (2^c + … + 2^(n-1)) = 2^n.
   */
  async verify(password: string, stored: string | undefined, requester?: Requester): Promise<boolean> {
    const hashable = isHashable(password);
    const known = stored?.startsWith(SCHEME) === true;
    const hash = known ? stored.slice(SCHEME.length) : this.dummy;
    const padding = this.padding.slice(Math.max(costOf(hash), LEAST_COST));
    const matches = await this.pool.run(
      { kind: 'compare', prehash: prehash(hashable ? password : ''), hash, padding },
      requester,
    );
    return hashable && known && matches === true;
  }

  /** Why a new password is easy to guess: see `weakness` in strength.ts. @param inputs what whoever guesses knows of the user */
  async weakness(password: string, inputs: readonly string[], requester?: Requester): Promise<string | undefined> {
    const reason = await this.judge.run({ kind: 'judge', password, inputs: [...inputs] }, requester);
    return typeof reason === 'string' ? reason : undefined;
  }

  /** True of a hash that this hasher would make otherwise: hash the password again while it is at hand. */
  isOutdated(stored: string): boolean {
    return !stored.startsWith(SCHEME) || costOf(stored.slice(SCHEME.length)) !== this.options.cost;
  }

  /** Passwords that wait for a thread. */
  get waiting(): number {
    return this.pool.queued;
  }

  async close(): Promise<void> {
    await Promise.all([this.pool.close(), this.judge.close()]);
  }
}
