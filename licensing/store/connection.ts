import pg from 'pg';
import { silent } from '../../runtime/log/log';
import type { Logger } from '../../runtime/log/log';
import { currentRequester } from '../../runtime/turns/requester';
import type { Queries } from './queries';

/** One connection, with transactions. */
export interface Transactions extends Queries {
  transaction<T>(work: (queries: Queries) => Promise<T>): Promise<T>;
}

/** How long a connection may take until it is there. */
export const CONNECT_MS = 5_000;

/** Statements by this connection. Each counts for the caller whom it is for. @throws pg's errors */
export function queriesBy(client: pg.ClientBase): Queries {
  return {
    query: async <Row extends object>(text: string, values: Parameters<Queries['query']>[1] = []) => {
      const requester = currentRequester();
      if (requester) requester.statements += 1;
      return (await client.query<Row>(text, [...values])).rows;
    },
  };
}

/** Rolled back when `work` throws. @throws what `work` throws, and pg's errors */
export async function inTransaction<T>(client: pg.ClientBase, work: (queries: Queries) => Promise<T>): Promise<T> {
  await client.query('BEGIN');
  try {
    const result = await work(queriesBy(client));
    await client.query('COMMIT');
    return result;
  } catch (error) {
    await client.query('ROLLBACK').catch(() => undefined);
    throw error;
  }
}

/**
 * Works on a connection of its own, without a limit of time for what it does: a pool's ends a statement that takes long, as what changes the schema or the roles may.
 * @throws what `work` throws, and pg's errors
 */
export async function withConnection<T>(
  url: string,
  applicationName: string,
  work: (connection: Transactions) => Promise<T>,
  { log = silent }: { log?: Logger } = {},
): Promise<T> {
  const client = new pg.Client({
    connectionString: url,
    connectionTimeoutMillis: CONNECT_MS,
    keepAlive: true,
    application_name: applicationName,
  });
  // Whoever waits for a statement is told by it.
  client.on('error', (error) => log.warn({ reason: error.message }, 'database connection lost'));
  try {
    await client.connect();
    return await work({ ...queriesBy(client), transaction: (inside) => inTransaction(client, inside) });
  } finally {
    await client.end().catch(() => undefined);
  }
}
