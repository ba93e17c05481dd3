import type { AuditEntry } from '../../attestation/transparency/record';
import { bucketKey, Buckets } from '../limits/buckets';
import type { Queries } from '../store/queries';

/** What a user can bring about as often as they like: each of these is a record, and nobody is to fill the log. What else they do has limits of its own. */
const KINDS = new Set([
  'account.password_changed',
  'account.second_factor_enabled',
  'account.second_factor_disabled',
  'account.recovery_codes_renewed',
  'account.recovery_code_used',
  'account.oidc_bound',
  'account.oidc_unbound',
  'enclave.deleted',
  'seat.freed',
  'session.revoked',
]);
/** Of one kind and one user: at once, and again in an hour. Beyond that, one record says how many were left out: recordRefusals. */
const RECORDS = { burst: 60, seconds: 3600 };
/** Before the kind, where reasons of refusals are counted. */
const LEFT_OUT = 'left out: ';

/** Whether there is to be a record of this; otherwise it is counted. In the transaction that carries the decision out. */
export async function mayRecord(queries: Queries, { kind, detail }: AuditEntry): Promise<boolean> {
  const { user } = detail;
  if (!KINDS.has(kind) || typeof user !== 'string') return true;
  if ((await new Buckets(queries).take(bucketKey('records', kind, user), RECORDS)) === 0) return true;
  await queries.query(
    `INSERT INTO audit_refusals AS r (minute, reason, user_id, count) VALUES (date_trunc('minute', now()), $1, $2, 1)
     ON CONFLICT (minute, reason, user_id) DO UPDATE SET count = r.count + 1`,
    [`${LEFT_OUT}${kind}`, user],
  );
  return false;
}

/** The kind of record that was left out, where that is what was counted; undefined for a refusal. */
export function leftOut(reason: string): string | undefined {
  return reason.startsWith(LEFT_OUT) ? reason.slice(LEFT_OUT.length) : undefined;
}
