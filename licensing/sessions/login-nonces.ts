import { status } from '@grpc/grpc-js';
import { sha256 } from '../../attestation/crypto';
import { RpcError } from '../../runtime/rpc/errors';
import type { Queries } from '../store/queries';

/** How many a user can have is bounded by how often they may log in. */
const KEPT = '1 day';
const FORGET_AT_ONCE = 100;
/** Asked about where there is no account: it takes the same time. */
const NOBODY = '00000000-0000-0000-0000-000000000000';

function used(): RpcError {
  return new RpcError(
    'login.nonce_used',
    status.UNAUTHENTICATED,
    'expected a nonce that no login of this account was for: a login can be sent once',
  );
}

/**
 * Refuses a login that was sent before, as long as that costs nothing yet. The proof binds the nonce to the client's key, and the nonce names the login.
 * @throws RpcError UNAUTHENTICATED login.nonce_used
 */
export async function requireFreshNonce(queries: Queries, user: string | undefined, nonce: Buffer): Promise<void> {
  const rows = await queries.query('SELECT 1 AS there FROM login_nonces WHERE user_id = $1 AND nonce_sha256 = $2', [
    user ?? NOBODY,
    sha256(nonce),
  ]);
  if (rows.length > 0) throw used();
}

/**
 * Uses a nonce up for a user who is known. Of logins with one nonce at once, on whichever replicas, one goes on.
 * @throws RpcError UNAUTHENTICATED login.nonce_used; login.session_ended where the account was deleted meanwhile
 */
export async function useNonce(queries: Queries, user: string, nonce: Buffer): Promise<void> {
  const rows = await queries.query(
    `WITH forgotten AS (
       DELETE FROM login_nonces WHERE (user_id, nonce_sha256) IN (
         SELECT user_id, nonce_sha256 FROM login_nonces WHERE expires_at < now() ORDER BY expires_at LIMIT ${FORGET_AT_ONCE} FOR UPDATE SKIP LOCKED)
     )
     INSERT INTO login_nonces (user_id, nonce_sha256, expires_at)
     SELECT id, $2, now() + interval '${KEPT}' FROM accounts WHERE id = $1 FOR KEY SHARE
     ON CONFLICT DO NOTHING RETURNING 1 AS taken`,
    [user, sha256(nonce)],
  );
  if (rows.length > 0) return;
  await requireFreshNonce(queries, user, nonce);
  throw new RpcError('login.session_ended', status.UNAUTHENTICATED, 'the session has ended');
}
