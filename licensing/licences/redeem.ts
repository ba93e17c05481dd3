import { status } from '@grpc/grpc-js';
import { recordAudit } from '../audit/audit';
import { bucketKey, Buckets } from '../limits/buckets';
import { RpcError } from '../../runtime/rpc/errors';
import type { Database } from '../store/database';
import { stateOf } from './entitlement';
import { heldLicences, LICENCE_COLUMNS, toLicence } from './holdings';
import type { HeldLicence, LicenceRow } from './holdings';
import type { Queries } from '../store/queries';
import type { WireCode } from '../../errors/codes';
import { silent } from '../../runtime/log/log';
import type { Logger } from '../../runtime/log/log';

/** A licence that can't be had or used, in the words for its user. FAILED_PRECONDITION: trying again changes nothing. */
export function licenceRefusal(
  code: Extract<WireCode, `licence.${string}`>,
  message: string,
  grpcStatus = status.FAILED_PRECONDITION,
): RpcError {
  return new RpcError(code, grpcStatus, message);
}

interface Redeemed {
  licence: HeldLicence;
  /** True: the account had it already. */
  again: boolean;
}

/**
 * Gives a licence, whose key was verified, to an account. Of calls at once, on whichever replicas, no more get it than there is room for: each holds the
 * licence's row while it counts. What is decided is recorded, refusals included.
 * @throws RpcError FAILED_PRECONDITION licence.unknown, licence.revoked, licence.expired, licence.full
 */
export async function redeemLicence(database: Database, user: string, licence: string, now: Date): Promise<Redeemed> {
  const outcome = await database.transaction(async (queries): Promise<Redeemed | RpcError> => {
    const decided = await decide(queries, user, licence, now);
    if (decided instanceof RpcError) await writeRefusal(queries, { user, licence, code: decided.code });
    else await recordAudit(queries, { kind: 'licence.redeemed', detail: { user, licence, again: decided.again } });
    return decided;
  });
  // Not inside: the record of the refusal would be rolled back with it.
  if (outcome instanceof RpcError) throw outcome;
  return outcome;
}

/** Who was refused for their licence's sake, and why. */
interface LicenceRefusal {
  user: string;
  /** Its id, where there is one. */
  licence?: string | undefined;
  code: WireCode;
}

/** Of one user, at once and again in an hour: a refusal costs who is refused nothing, so they could fill the record with theirs. */
const RECORDED = { burst: 20, seconds: 3600 };

/** Records a refusal, unless as many of this user's were recorded lately as there may be: those are in the log alone. */
export async function recordRefusal(database: Database, refused: LicenceRefusal, log: Logger = silent): Promise<void> {
  if ((await new Buckets(database).take(bucketKey('licence-refused', refused.user), RECORDED)) === 0)
    await writeRefusal(database, refused);
  else log.warn(refused, 'refused for the licence, too often to be recorded');
}

async function writeRefusal(queries: Queries, refused: LicenceRefusal): Promise<void> {
  await recordAudit(queries, { kind: 'licence.refused', detail: { ...refused } });
}

async function decide(queries: Queries, user: string, id: string, now: Date): Promise<Redeemed | RpcError> {
  const [row] = await queries.query<LicenceRow>(
    `SELECT ${LICENCE_COLUMNS} FROM licences l WHERE l.id = $1 FOR UPDATE`,
    [id],
  );
  // Signed by our key, but never issued: whoever has the key alone makes no licences with it.
  if (!row) return licenceRefusal('licence.unknown', 'the licence was not issued by this installation');
  const record = toLicence(row);
  const state = stateOf(record, now);
  if (state === 'revoked') return licenceRefusal('licence.revoked', 'the licence was revoked');
  // Grace days are for who works with it already.
  if (state !== 'valid')
    return licenceRefusal('licence.expired', `the licence expired at ${record.until.toISOString()}`);
  const updated = await queries.query(
    'UPDATE licence_redemptions SET redeemed_at = clock_timestamp() WHERE licence_id = $1 AND user_id = $2 RETURNING user_id',
    [id, user],
  );
  if (updated.length === 0) {
    const [counted] = await queries.query<{ redeemed: number }>(
      'SELECT count(*)::int AS redeemed FROM licence_redemptions WHERE licence_id = $1',
      [id],
    );
    if (counted!.redeemed >= record.accounts) {
      const has = record.accounts === 1 ? '1 account, and has one' : `${record.accounts} accounts, and has as many`;
      return licenceRefusal('licence.full', `the licence is for ${has}`);
    }
    await queries.query(
      'INSERT INTO licence_redemptions (licence_id, user_id, redeemed_at) VALUES ($1, $2, clock_timestamp())',
      [id, user],
    );
  }
  const held = (await heldLicences(queries, user)).find(({ licence }) => licence === id);
  return { licence: held!, again: updated.length > 0 };
}

/**
 * Gives a licence back: another account may redeem it in its place.
 * @throws RpcError NOT_FOUND licence.not_held
 */
export async function dropLicence(database: Database, user: string, licence: string): Promise<void> {
  await database.transaction(async (queries) => {
    // First the licence, as redeeming does.
    await queries.query('SELECT id FROM licences WHERE id = $1 FOR UPDATE', [licence]);
    const gone = await queries.query(
      'DELETE FROM licence_redemptions WHERE licence_id = $1 AND user_id = $2 RETURNING user_id',
      [licence, user],
    );
    if (gone.length === 0)
      throw licenceRefusal('licence.not_held', 'your account has no such licence', status.NOT_FOUND);
    await recordAudit(queries, { kind: 'licence.dropped', detail: { user, licence } });
  });
}
