import type { VerifiedIdToken } from './id-token';
import type { Queries } from '../store/queries';

/** A used token is remembered for so much longer than any clock could let it pass. */
const MARGIN = '1 hour';
const FORGET_AT_ONCE = 100;

type UsedToken = Pick<VerifiedIdToken, 'sha256' | 'goodUntil'>;

/** Whether a token was used before; for an early word. */
export async function isUsed(queries: Queries, { sha256 }: UsedToken): Promise<boolean> {
  return (await queries.query('SELECT 1 AS there FROM used_id_tokens WHERE sha256 = $1', [sha256])).length > 0;
}

/**
 * Uses a token up, in the transaction of what it is used for. Of calls with one token at once, on whichever replicas, one gets true: others wait for its
 * transaction here.
 */
export async function useToken(queries: Queries, { sha256, goodUntil }: UsedToken): Promise<boolean> {
  const [row] = await queries.query(
    `INSERT INTO used_id_tokens (sha256, expires_at) VALUES ($1, $2::timestamptz + interval '${MARGIN}') ON CONFLICT DO NOTHING RETURNING 1 AS used`,
    [sha256, goodUntil],
  );
  return row !== undefined;
}

/** Forgets tokens that are refused by their time. */
export async function forgetUsedTokens(queries: Queries): Promise<void> {
  await queries.query(
    `DELETE FROM used_id_tokens WHERE sha256 IN (SELECT sha256 FROM used_id_tokens WHERE expires_at < now() ORDER BY expires_at LIMIT ${FORGET_AT_ONCE})`,
  );
}
