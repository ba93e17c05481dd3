import type { Queries } from './queries';

/** Id of the installation that this database is of, a UUID. It was made with the database, and a backup carries it. */
export async function installationId(queries: Queries): Promise<string> {
  const [row] = await queries.query<{ id: string }>('SELECT id::text FROM installation');
  if (!row) throw new Error('expected one row in the table installation, got none');
  return row.id;
}

/** As `installationId`, asked for when it is first wanted and remembered. */
export function installationOf(queries: Queries): () => Promise<string> {
  let known: string | undefined;
  return async () => (known ??= await installationId(queries));
}
