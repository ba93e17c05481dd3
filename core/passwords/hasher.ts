import { randomBytes } from 'node:crypto';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { distFolder } from '../config/dist';
import { prehash } from './prehash';
import { isHashable } from './rules';
import { Threads } from './threads';

export interface HasherOptions {
  /** bcrypt's cost: work doubles with each. */
  cost: number;
  /** Threads at most; as many as the machine has processors unless told. */
  threads?: number;
  /** Passwords that may wait for a thread. */
  queue: number;
}

/** Names how the password came to bcrypt, so that another way can be told from it later. */
const SCHEME = 'hmac-sha256+bcrypt:';

/** A bcrypt string of the cost, of no password: what an unknown user's password is compared with. */
function dummyHash(cost: number): string {
  const alphabet = './ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789';
  const letters = Array.from(randomBytes(53), (byte) => alphabet[byte & 63]);
  // The 22nd letter of the salt and the 31st of the hash hold fewer than 6 bits.
  letters[21] = '.';
  letters[52] = '.';
  return `${SCHEME}$2b$${String(cost).padStart(2, '0')}$${letters.join('')}`;
}

/** Hashes and checks passwords in threads of their own. Refusals: see Threads.run. */
export class PasswordHasher {
  private readonly pool: Threads;
  private readonly dummy: string;

  constructor(private readonly options: HasherOptions) {
    this.pool = new Threads({
      program: join(distFolder(), 'password-worker.cjs'),
      threads: options.threads ?? availableParallelism(),
      queue: options.queue,
    });
    this.dummy = dummyHash(options.cost);
  }

  /** @returns the text to store, algorithm and salt included */
  async hash(password: string, signal?: AbortSignal): Promise<string> {
    return `${SCHEME}${await this.pool.run({ kind: 'hash', prehash: prehash(password), cost: this.options.cost }, signal)}`;
  }

  /**
   * Checks a password. An account that isn't there (`stored` undefined) takes the same work and is never right, so time
   * doesn't tell who has an account.
   */
  async verify(password: string, stored: string | undefined, signal?: AbortSignal): Promise<boolean> {
    const hashable = isHashable(password);
    const known = stored?.startsWith(SCHEME) === true;
    const hash = (known ? stored : this.dummy).slice(SCHEME.length);
    const matches = await this.pool.run({ kind: 'compare', prehash: prehash(hashable ? password : ''), hash }, signal);
    return hashable && known && matches === true;
  }

  close(): Promise<void> {
    return this.pool.close();
  }
}
