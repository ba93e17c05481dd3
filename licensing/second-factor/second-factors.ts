import { status } from '@grpc/grpc-js';
import { recordAudit } from '../audit/audit';
import { RpcError } from '../../runtime/rpc/errors';
import type { Database } from '../store/database';
import type { SecondFactorKeys } from './keys';
import { newRecoveryCodes, recoveryCodeHash } from './recovery-codes';
import { newTotpSecret, stepOf } from './totp';
import type { Queries } from '../store/queries';
import { dateOf, systemClock } from '../../runtime/clock';
import type { Clock } from '../../runtime/clock';
import { silent } from '../../runtime/log/log';
import type { Logger } from '../../runtime/log/log';

/** Which second factor a row is: one that is set up anew is another. Null of one that was never confirmed. */
export const VERSION = '(extract(epoch FROM enabled_at) * 1000000)::bigint::text';
/** An enrolment that is not confirmed by then has to begin anew. */
const CONFIRM_MINUTES = 10;

interface SecondFactorStatus {
  /** Undefined where the user has none. */
  enabledAt: Date | undefined;
  /** Says which one it is: one that is set up anew is another. Undefined where the user has none. */
  version: string | undefined;
  /** That are not used. */
  recoveryCodes: number;
}

/** One answer for every way to be wrong. */
export function wrongCode(): RpcError {
  return new RpcError('login.second_factor_wrong', status.UNAUTHENTICATED, 'the code is wrong, or was used before');
}

export function codeRequired(): RpcError {
  return new RpcError(
    'login.second_factor_required',
    status.UNAUTHENTICATED,
    'expected a code of your authenticator as well',
  );
}

function unavailable(cause?: unknown): RpcError {
  return new RpcError(
    'account.second_factor_unavailable',
    status.UNAVAILABLE,
    'second factors can not be used for now: tell your operator',
    { cause },
  );
}

/** Holds the account, first of all in the transaction that changes its second factor, as it was when the call was shown what it acts by. */
type Hold = (queries: Queries) => Promise<void>;

/** The second factors of users, in SQL: what one replica took, no other takes. Refusals of the database: see Database. */
export class SecondFactors {
  /** @param keys undefined where the installation has none: nobody gets a second factor, and who has one does not get in */
  constructor(
    private readonly database: Database,
    private readonly keys: () => SecondFactorKeys | undefined,
    private readonly clock: Clock = systemClock,
    private readonly log: Logger = silent,
  ) {}

  async status(user: string): Promise<SecondFactorStatus> {
    const [row] = await this.database.queryTwice<{ enabled_at: Date; version: string; codes: number }>(
      `SELECT enabled_at, ${VERSION} AS version,
         (SELECT count(*)::int FROM recovery_codes c WHERE c.user_id = f.user_id AND used_at IS NULL) AS codes
       FROM second_factors f WHERE user_id = $1 AND enabled_at IS NOT NULL`,
      [user],
    );
    return { enabledAt: row?.enabled_at, version: row?.version, recoveryCodes: row?.codes ?? 0 };
  }

  /** Makes a secret that waits to be confirmed, in place of one that does. @throws RpcError FAILED_PRECONDITION account.second_factor_enabled */
  async begin(user: string, hold: Hold): Promise<Buffer> {
    const secret = newTotpSecret();
    const sealed = await this.requireKeys().seal(user, secret);
    const rows = await this.database.transaction(async (queries) => {
      await hold(queries);
      return queries.query(
        `INSERT INTO second_factors (user_id, secret) VALUES ($1, $2)
       ON CONFLICT (user_id) DO UPDATE SET secret = $2, begun_at = now(), last_step = 0 WHERE second_factors.enabled_at IS NULL RETURNING user_id`,
        [user, sealed],
      );
    });
    if (rows.length === 0)
      throw new RpcError(
        'account.second_factor_enabled',
        status.FAILED_PRECONDITION,
        'you already have a second factor',
      );
    return secret;
  }

  /**
   * Makes the secret that waits the user's second factor, if the code is of it.
   * @returns the recovery codes
   * @throws RpcError UNAUTHENTICATED login.second_factor_wrong; FAILED_PRECONDITION account.second_factor_not_begun
   */
  async confirm(user: string, code: string, hold: Hold): Promise<string[]> {
    const notBegun = (): RpcError =>
      new RpcError(
        'account.second_factor_not_begun',
        status.FAILED_PRECONDITION,
        'no pending second factor: start again',
      );
    const [row] = await this.database.queryTwice<{ secret: string }>(
      `SELECT secret FROM second_factors WHERE user_id = $1 AND enabled_at IS NULL AND begun_at > now() - interval '${CONFIRM_MINUTES} minutes'`,
      [user],
    );
    if (!row) throw notBegun();
    const step = stepOf(await this.open(user, row.secret), digitsOf(code), dateOf(this.clock));
    if (step === undefined) throw wrongCode();
    return this.database.transaction(async (queries) => {
      await hold(queries);
      const enabled = await queries.query(
        'UPDATE second_factors SET enabled_at = now(), last_step = $3 WHERE user_id = $1 AND secret = $2 AND enabled_at IS NULL RETURNING user_id',
        [user, row.secret, step],
      );
      // Another replica confirmed it, or began anew.
      if (enabled.length === 0) throw notBegun();
      await recordAudit(queries, { kind: 'account.second_factor_enabled', detail: { user } });
      return replaceRecoveryCodes(queries, user);
    });
  }

  /** Takes a code of the authenticator. Of calls with one code at once, on whichever replicas, one is right (RFC 6238, 5.2). */
  async useCode(user: string, code: string): Promise<boolean> {
    const [row] = await this.database.queryTwice<{ secret: string }>(
      'SELECT secret FROM second_factors WHERE user_id = $1 AND enabled_at IS NOT NULL',
      [user],
    );
    const step = row && stepOf(await this.open(user, row.secret), digitsOf(code), dateOf(this.clock));
    if (step === undefined) return false;
    const taken = await this.database.query(
      'UPDATE second_factors SET last_step = $2 WHERE user_id = $1 AND last_step < $2 AND secret = $3 RETURNING user_id',
      [user, step, row!.secret],
    );
    return taken.length > 0;
  }

  /** Takes a recovery code, once. */
  async useRecoveryCode(user: string, hash: Buffer): Promise<boolean> {
    return this.database.transaction(async (queries) => {
      const used = await queries.query(
        'UPDATE recovery_codes SET used_at = now() WHERE user_id = $1 AND sha256 = $2 AND used_at IS NULL RETURNING user_id',
        [user, hash],
      );
      if (used.length > 0) await recordAudit(queries, { kind: 'account.recovery_code_used', detail: { user } });
      return used.length > 0;
    });
  }

  /** @throws RpcError FAILED_PRECONDITION account.second_factor_disabled where there is no second factor */
  async renewRecoveryCodes(user: string, hold: Hold): Promise<string[]> {
    return this.database.transaction(async (queries) => {
      await hold(queries);
      const there = await queries.query(
        'SELECT user_id FROM second_factors WHERE user_id = $1 AND enabled_at IS NOT NULL FOR UPDATE',
        [user],
      );
      if (there.length === 0)
        throw new RpcError('account.second_factor_disabled', status.FAILED_PRECONDITION, 'you have no second factor');
      await recordAudit(queries, { kind: 'account.recovery_codes_renewed', detail: { user } });
      return replaceRecoveryCodes(queries, user);
    });
  }

  /** @returns false where there was none */
  async disable(user: string, hold: Hold): Promise<boolean> {
    return this.database.transaction(async (queries) => {
      await hold(queries);
      const removed = await removeSecondFactor(queries, user);
      if (removed) await recordAudit(queries, { kind: 'account.second_factor_disabled', detail: { user } });
      return removed;
    });
  }

  private requireKeys(): SecondFactorKeys {
    const keys = this.keys();
    if (!keys) throw unavailable();
    return keys;
  }

  private async open(user: string, sealed: string): Promise<Buffer> {
    const keys = this.requireKeys();
    try {
      return await keys.open(user, sealed);
    } catch (cause) {
      this.log.error({ user, reason: (cause as Error).name }, "a second factor's secret can not be decrypted");
      throw unavailable(cause);
    }
  }
}

/** Removes a second factor and its recovery codes, in the transaction that records why. @returns false where there was none */
export async function removeSecondFactor(queries: Queries, user: string): Promise<boolean> {
  const rows = await queries.query<{ enabled: boolean }>(
    'DELETE FROM second_factors WHERE user_id = $1 RETURNING enabled_at IS NOT NULL AS enabled',
    [user],
  );
  return rows[0]?.enabled === true;
}

async function replaceRecoveryCodes(queries: Queries, user: string): Promise<string[]> {
  const codes = newRecoveryCodes();
  await queries.query('DELETE FROM recovery_codes WHERE user_id = $1', [user]);
  for (const code of codes)
    await queries.query('INSERT INTO recovery_codes (user_id, sha256) VALUES ($1, $2)', [
      user,
      recoveryCodeHash(code)!,
    ]);
  return codes;
}

/** Authenticators show codes in two groups. */
function digitsOf(code: string): string {
  return code.replace(/\s/g, '');
}
