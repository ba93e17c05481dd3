import type { Queries } from '../store/queries';

/** What applies the schema's steps keeps it itself. */
const NOT_DUMPED = 'schema_migrations';

interface Table {
  name: string;
  /** Tables that its rows refer to, other than itself. */
  refersTo: string[];
}

/** A table's rows as PostgreSQL writes them as JSON, never read here: a bigint has no room in a number. */
export interface TableRows {
  name: string;
  rows: AsyncIterable<string> | Iterable<string>;
}

/** An identifier as SQL takes it (PostgreSQL documentation, 4.1.1). */
export function quoted(name: string): string {
  return `"${name.replaceAll('"', '""')}"`;
}

/** The schema's tables, each after those that its rows refer to. */
export async function tablesOf(queries: Queries): Promise<Table[]> {
  const rows = await queries.query<{ name: string; refers_to: string }>(
    `SELECT c.relname AS name, coalesce((
       SELECT string_agg(DISTINCT r.relname, ',') FROM pg_constraint k JOIN pg_class r ON r.oid = k.confrelid
       WHERE k.conrelid = c.oid AND k.contype = 'f' AND k.confrelid <> c.oid), '') AS refers_to
     FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
     WHERE c.relkind IN ('r', 'p') AND n.nspname = current_schema() AND c.relname <> $1 ORDER BY c.relname`,
    [NOT_DUMPED],
  );
  let left: Table[] = rows.map(({ name, refers_to: names }) => ({ name, refersTo: names.split(',').filter(Boolean) }));
  const ordered: Table[] = [];
  const placed = new Set<string>();
  while (left.length > 0) {
    const free = left.filter(({ refersTo }) => refersTo.every((name) => placed.has(name)));
    if (free.length === 0)
      throw new TypeError(`tables that refer to each other: ${left.map(({ name }) => name).join(', ')}`);
    for (const table of free) placed.add(table.name);
    ordered.push(...free);
    left = left.filter(({ name }) => !placed.has(name));
  }
  return ordered;
}
