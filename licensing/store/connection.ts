import pg from 'pg';
import type { Queries } from './queries';

/** One connection, with transactions. */
export interface Transactions extends Queries {
  transaction<T>(work: (queries: Queries) => Promise<T>): Promise<T>;
}

const CONNECT_MS = 5_000;

/**
 * Works on a connection of its own, without a limit of time for what it does: for what changes the schema and the roles, and for nobody who serves.
 * @throws pg's errors
 */
export async function withConnection<T>(
  url: string,
  applicationName: string,
  work: (connection: Transactions) => Promise<T>,
): Promise<T> {
  const client = new pg.Client({
    connectionString: url,
    connectionTimeoutMillis: CONNECT_MS,
    keepAlive: true,
    application_name: applicationName,
  });
  // Whoever waits for a statement is told by it.
  client.on('error', () => undefined);
  const query: Queries['query'] = async <Row extends object>(text: string, values: readonly unknown[] = []) =>
    (await client.query<Row>(text, [...values])).rows;
  try {
    await client.connect();
    return await work({
      query,
      async transaction(inside) {
        await query('BEGIN');
        try {
          const result = await inside({ query });
          await query('COMMIT');
          return result;
        } catch (error) {
          await query('ROLLBACK').catch(() => undefined);
          throw error;
        }
      },
    });
  } finally {
    await client.end().catch(() => undefined);
  }
}
