import { status } from '@grpc/grpc-js';
import { RpcError } from '../../runtime/rpc/errors';
import { codeRequired, VERSION } from '../second-factor/second-factors';
import { LIVE_SESSION } from '../sessions/rotation';
import { revokedUser } from '../sessions/sessions';
import type { AccessToken } from '../tokens/access-token';
import type { Queries } from '../store/queries';

/** What a call was shown, or saw, of an account before it acts on it. */
export interface Shown {
  user: string;
  /** Of the access token that the call came with, where it came with one. */
  caller?: Pick<AccessToken, 'session' | 'generation'>;
  /** The hash that the password was compared with; null: the account had none. Left out where no password was asked for. */
  passwordHash?: string | null;
  /** As `requireSecondFactor` gave it; null: the account had none. Left out where it was not looked at. */
  secondFactor?: string | null;
}

/**
 * Holds an account for the rest of the transaction, as it was when the call was shown what it acts by. Passwords are hashed and codes are looked at outside
 * of transactions, which takes seconds: what another call, an administrator or a deletion has changed meanwhile is refused here. Whoever changes any of it
 * holds the account's row, so what is there now stays until the transaction's end.
 * @throws RpcError UNAUTHENTICATED login.session_ended, login.revoked, login.second_factor_required; ABORTED account.password_raced,
 * account.second_factor_raced
 */
export async function holdAccount(
  queries: Queries,
  { user, caller, passwordHash, secondFactor }: Shown,
): Promise<void> {
  const [account] = await queries.query<{ password_hash: string | null }>(
    'SELECT password_hash FROM accounts WHERE id = $1 FOR NO KEY UPDATE',
    [user],
  );
  if (!account) throw ended();
  const session = caller === undefined || (await holdSession(queries, user, caller));
  const version = secondFactor === undefined ? undefined : await holdSecondFactor(queries, user);
  // After the locks and in a statement of its own, so it sees what was committed before.
  const revoked = await queries.query(`SELECT 1 AS there FROM revocations WHERE kind = 'user' AND subject = $1`, [
    user,
  ]);
  if (revoked.length > 0) throw revokedUser();
  if (!session) throw ended();
  if (passwordHash !== undefined && passwordHash !== account.password_hash)
    throw new RpcError(
      'account.password_raced',
      status.ABORTED,
      'the password was changed at this moment by another call',
    );
  if (version === secondFactor) return;
  if (secondFactor === null) throw codeRequired();
  throw new RpcError(
    'account.second_factor_raced',
    status.ABORTED,
    'the second factor was changed at this moment by another call',
  );
}

/** Whoever ends the session waits for this row, or this for them. @returns false where it has ended, or has newer tokens */
async function holdSession(
  queries: Queries,
  user: string,
  { session, generation }: Pick<AccessToken, 'session' | 'generation'>,
): Promise<boolean> {
  const rows = await queries.query(
    `SELECT s.id FROM sessions s WHERE s.id = $1 AND s.user_id = $2 AND s.generation = $3 AND ${LIVE_SESSION} FOR NO KEY UPDATE`,
    [session, user, generation],
  );
  return rows.length > 0;
}

/** Also one that waits to be confirmed: the release before enables it without holding the account. @returns as `requireSecondFactor` */
async function holdSecondFactor(queries: Queries, user: string): Promise<string | null> {
  const [row] = await queries.query<{ version: string | null }>(
    `SELECT ${VERSION} AS version FROM second_factors WHERE user_id = $1 FOR NO KEY UPDATE`,
    [user],
  );
  return row?.version ?? null;
}

function ended(): RpcError {
  return new RpcError('login.session_ended', status.UNAUTHENTICATED, 'the session has ended');
}
