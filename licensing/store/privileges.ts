import { GRANTS } from './grants';
import type { DatabaseProgram } from './grants';
import type { Queries } from './queries';

/** Asked one by one, so that what comes by way of PUBLIC or another role counts as well. */
const OF_TABLES = ['SELECT', 'INSERT', 'UPDATE', 'DELETE', 'TRUNCATE', 'REFERENCES', 'TRIGGER'];
const OF_COLUMNS = ['SELECT', 'INSERT', 'UPDATE', 'REFERENCES'];

const list = (words: readonly string[]): string => words.map((word) => `'${word}'`).join(', ');

/** By table; of columns as `UPDATE (a, b)`, in the order of their names. */
async function tablePrivileges(queries: Queries, role: string): Promise<Map<string, Set<string>>> {
  const rows = await queries.query<{ table: string; privilege: string; whole: boolean; columns: string | null }>(
    `SELECT c.relname AS table, p.privilege, has_table_privilege($1::name, c.oid, p.privilege) AS whole,
       (SELECT string_agg(a.attname, ', ' ORDER BY a.attname) FROM pg_attribute a
        WHERE p.privilege IN (${list(OF_COLUMNS)}) AND a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
          AND has_column_privilege($1::name, c.oid, a.attnum, CASE WHEN p.privilege IN (${list(OF_COLUMNS)}) THEN p.privilege ELSE 'SELECT' END)) AS columns
     FROM pg_class c CROSS JOIN unnest(ARRAY[${list(OF_TABLES)}]) AS p (privilege)
     WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'p', 'v', 'm', 'f')`,
    [role],
  );
  const found = new Map<string, Set<string>>();
  for (const { table, privilege, whole, columns } of rows) {
    if (!whole && columns === null) continue;
    const privileges = found.get(table) ?? new Set();
    found.set(table, privileges.add(whole ? privilege : `${privilege} (${columns})`));
  }
  return found;
}

/** What makes a role more than one that serves, in words. */
async function powersOf(queries: Queries, role: string): Promise<string[]> {
  const rows = await queries.query<{ power: string }>(
    `SELECT power FROM pg_roles r CROSS JOIN LATERAL (VALUES
       ('is a superuser', r.rolsuper), ('may create roles', r.rolcreaterole), ('may create databases', r.rolcreatedb),
       ('may replicate', r.rolreplication), ('passes row security', r.rolbypassrls),
       ('may create in the schema', has_schema_privilege(r.oid, current_schema(), 'CREATE')),
       ('may create schemas', has_database_privilege(r.oid, current_database(), 'CREATE')),
       ('may create temporary tables', has_database_privilege(r.oid, current_database(), 'TEMPORARY')),
       ('may set session_replication_role', has_parameter_privilege(r.oid, 'session_replication_role', 'SET'))
     ) AS p (power, has) WHERE r.rolname = $1 AND p.has
     UNION ALL SELECT 'is a member of ' || g.rolname FROM pg_auth_members m JOIN pg_roles g ON g.oid = m.roleid JOIN pg_roles r ON r.oid = m.member WHERE r.rolname = $1
     UNION ALL SELECT 'owns ' || c.relname FROM pg_class c JOIN pg_roles r ON r.oid = c.relowner WHERE r.rolname = $1 AND c.relkind IN ('r', 'p', 'v', 'm', 'S', 'f')
     UNION ALL SELECT 'owns the function ' || f.proname FROM pg_proc f JOIN pg_roles r ON r.oid = f.proowner WHERE r.rolname = $1
     UNION ALL SELECT 'owns the schema ' || n.nspname FROM pg_namespace n JOIN pg_roles r ON r.oid = n.nspowner WHERE r.rolname = $1
     UNION ALL SELECT 'owns the database' FROM pg_database d JOIN pg_roles r ON r.oid = d.datdba WHERE r.rolname = $1 AND d.datname = current_database()
     UNION ALL SELECT 'may use the sequence ' || c.relname FROM pg_class c JOIN pg_roles r ON r.rolname = $1
       WHERE c.relkind = 'S' AND c.relnamespace = current_schema()::regnamespace AND (has_sequence_privilege(r.oid, c.oid, 'USAGE') OR has_sequence_privilege(r.oid, c.oid, 'UPDATE'))`,
    [role],
  );
  return rows.map(({ power }) => power);
}

function sorted(privilege: string): string {
  const [, word = privilege, columns] = /^(\w+) \((.*)\)$/.exec(privilege) ?? [];
  return columns === undefined ? word : `${word} (${columns.split(', ').sort().join(', ')})`;
}

/**
 * Where a role may do something else than its program needs, by the word of the server: one line for each thing, `missing: …` or `too much: …`. None: it is as
 * the table has it.
 */
export async function compareGrants(queries: Queries, program: DatabaseProgram, role: string): Promise<string[]> {
  const found = await tablePrivileges(queries, role);
  const wanted = new Map(
    Object.entries(GRANTS[program]).map(([table, privileges]) => [table, new Set(privileges.map(sorted))]),
  );
  const lines = (await powersOf(queries, role)).map((power) => `too much: ${power}`);
  for (const table of new Set([...wanted.keys(), ...found.keys()])) {
    const [want, have] = [wanted.get(table) ?? new Set<string>(), found.get(table) ?? new Set<string>()];
    for (const privilege of want) if (!have.has(privilege)) lines.push(`missing: ${privilege} on ${table}`);
    for (const privilege of have) if (!want.has(privilege)) lines.push(`too much: ${privilege} on ${table}`);
  }
  return lines;
}
