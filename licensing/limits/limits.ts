import { status } from '@grpc/grpc-js';
import { RpcError } from '../../runtime/rpc/errors';
import { subscriberOf } from '../../runtime/rpc/peer';
import type { Database } from '../store/database';
import { bucketKey, Buckets } from './buckets';
import type { Queries } from '../store/queries';

/** How often things may fail; 0: as often as anyone likes. */
interface LimitSizes {
  /** Wrong passwords of one account from one address, and of one known session: at once, and again in five minutes. */
  failuresPerAccount: number;
  /** Wrong passwords from one address for whichever accounts: at once, and again in an hour. */
  failuresPerAddress: number;
  /** Sign-ups from one address: at once, and again in an hour. */
  signupsPerAddress: number;
}

/** A try that is counted as failed until it is said that it has not. */
interface Attempt {
  succeeded(): Promise<void>;
}

/** What comes of a look at something secret. It was no failure where it is right, nor where nobody could look. */
export async function countAttempt(attempt: Attempt, look: () => Promise<boolean>): Promise<boolean> {
  const right = await look().catch(async (error: unknown) => {
    await attempt.succeeded();
    throw error;
  });
  if (right) await attempt.succeeded();
  return right;
}

const ACCOUNT_SECONDS = 300;
const ADDRESS_SECONDS = 3600;
/** Of one-time codes, for a day as well: one in 333,333 guesses is right, and who has the password may come from anywhere. */
const CODES_PER_DAY = 5;
const DAY_SECONDS = 86_400;
/** Far from the time that the database gives a statement. */
const KEYS_A_STATEMENT = 10_000;
/** Of logins that succeed. */
const LOGIN_SECONDS = 3600;
const UNCOUNTED: Attempt = { succeeded: () => Promise.resolve() };

/** What codes that a session tries are counted for: it is nobody's id. */
function ofSession(session: string): string {
  return `session ${session}`;
}

function limited(what: string, seconds: number): RpcError {
  return new RpcError(
    'login.limited',
    status.RESOURCE_EXHAUSTED,
    `too many ${what}: try again in ${seconds} ${seconds === 1 ? 'second' : 'seconds'}`,
    { details: { retryAfterSeconds: seconds } },
  );
}

/**
 * Limits on guessing. Nothing is counted for an account alone: whoever tries to lock its owner out locks out their own address. What a session that
 * is known tries is counted by itself, so nobody at the same address stands in its way either.
 */
export class Limits {
  private readonly buckets: Buckets;

  constructor(
    database: Database,
    private readonly sizes: LimitSizes,
  ) {
    this.buckets = new Buckets(database);
  }

  /**
   * Before a password is checked. @param account what names it, known or not: both are answered alike
   * @param session of a refresh token of this account's that came along
   * @throws RpcError RESOURCE_EXHAUSTED login.limited, with the seconds to wait
   */
  async passwordAttempt(account: string, address: string, session: string | undefined): Promise<Attempt> {
    const { failuresPerAccount, failuresPerAddress } = this.sizes;
    if (session !== undefined) {
      const key = bucketKey('session', session);
      return this.attempt([key], await this.take(key, failuresPerAccount, ACCOUNT_SECONDS));
    }
    const subscriber = subscriberOf(address);
    const whole = bucketKey('address', subscriber);
    const pair = `${bucketKey('account', account)}:${bucketKey('from', subscriber)}`;
    const wait = await this.take(whole, failuresPerAddress, ADDRESS_SECONDS);
    if (wait > 0) throw limited('failed logins from your network address', wait);
    const pairWait = await this.take(pair, failuresPerAccount, ACCOUNT_SECONDS);
    // Refused without a look at the password, so it is no failure of the address.
    if (pairWait > 0) await this.buckets.giveBack(whole);
    return this.attempt([whole, pair], pairWait);
  }

  /**
   * Before a one-time code is checked, of a user whose password was right: counted for the account, from wherever. Only who has the password can use
   * the tries up, and neither a session that is known nor a recovery code is held up by it.
   * @throws RpcError RESOURCE_EXHAUSTED login.limited
   */
  async codeAttempt(user: string, session: string | undefined): Promise<Attempt> {
    const { failuresPerAccount: burst } = this.sizes;
    const subject = session === undefined ? user : ofSession(session);
    const now = bucketKey('code', subject);
    const day = bucketKey('code-day', subject);
    const wait = await this.take(now, burst, ACCOUNT_SECONDS);
    if (wait > 0) throw limited('wrong codes', wait);
    const dayWait = await this.take(day, burst * CODES_PER_DAY, DAY_SECONDS);
    if (dayWait > 0) {
      await this.buckets.giveBack(now);
      throw limited('wrong codes', dayWait);
    }
    return burst === 0 ? UNCOUNTED : { succeeded: () => this.buckets.giveBack(now, day) };
  }

  /** Before a token of an OpenID provider is looked at, which is counted as a failed login of the address. @throws RpcError RESOURCE_EXHAUSTED login.limited */
  async idTokenAttempt(address: string): Promise<Attempt> {
    const { failuresPerAddress } = this.sizes;
    const whole = bucketKey('address', subscriberOf(address));
    const wait = await this.take(whole, failuresPerAddress, ADDRESS_SECONDS);
    if (wait > 0) throw limited('failed logins from your network address', wait);
    return failuresPerAddress === 0 ? UNCOUNTED : { succeeded: () => this.buckets.giveBack(whole) };
  }

  /** Before an account is made. @throws RpcError RESOURCE_EXHAUSTED login.limited */
  async signup(address: string): Promise<void> {
    const wait = await this.take(
      bucketKey('signup', subscriberOf(address)),
      this.sizes.signupsPerAddress,
      ADDRESS_SECONDS,
    );
    if (wait > 0) throw limited('sign-ups from your network address', wait);
  }

  private take(key: string, burst: number, seconds: number): Promise<number> {
    return burst === 0 ? Promise.resolve(0) : this.buckets.take(key, { burst, seconds });
  }

  private attempt(keys: string[], wait: number): Attempt {
    if (wait > 0) throw limited('failed logins', wait);
    const { failuresPerAccount, failuresPerAddress } = this.sizes;
    if (failuresPerAccount === 0 && failuresPerAddress === 0) return UNCOUNTED;
    return { succeeded: () => this.buckets.giveBack(...keys) };
  }
}

/**
 * Before a login of a user who is known, which would be a record of the audit log. What is refused is counted there, in one record a minute.
 * @param most at once, and again in an hour; 0: as many as they like
 * @throws RpcError RESOURCE_EXHAUSTED login.limited
 */
export async function limitLogins(queries: Queries, user: string, most: number): Promise<void> {
  if (most === 0) return;
  const wait = await new Buckets(queries).take(bucketKey('login', user), { burst: most, seconds: LOGIN_SECONDS });
  if (wait > 0) throw limited('logins of your account', wait);
}

/** Forgets what was counted for an account, from whichever addresses, and for its sessions. @param accounts what names it: as in `passwordAttempt` */
export async function forgetAccountLimits(queries: Queries, accounts: string[], sessions: string[]): Promise<void> {
  for (const account of accounts)
    await queries.query(`DELETE FROM limits WHERE key LIKE $1 || ':%'`, [bucketKey('account', account)]);
  const subjects = [...accounts, ...sessions.map(ofSession)];
  const keys = [
    ...sessions.map((session) => bucketKey('session', session)),
    ...subjects.flatMap((subject) => [bucketKey('code', subject), bucketKey('code-day', subject)]),
  ];
  // A user may have had any number of sessions: each statement is one text, and has few enough to end in its time.
  for (let at = 0; at < keys.length; at += KEYS_A_STATEMENT) {
    const some = keys.slice(at, at + KEYS_A_STATEMENT).join(',');
    await queries.query(`DELETE FROM limits WHERE key = ANY(string_to_array($1, ','))`, [some]);
  }
}
