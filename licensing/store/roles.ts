import pg from 'pg';
import { CodedError } from '../../errors/coded-error';
import type { Transactions } from './connection';
import { DATABASE_PROGRAMS, GRANTS } from './grants';
import type { DatabaseProgram } from './grants';
import { compareGrants } from './privileges';
import { scramVerifier } from './scram';

/** A program's role is missing, or may do more or less than its program needs. */
class RolesError extends CodedError<'store.roles'> {
  override readonly name = 'RolesError';

  constructor(message: string, options?: ErrorOptions) {
    super('store.roles', message, options);
  }
}

/** Names of the programs' roles. */
export type RoleNames = Readonly<Record<DatabaseProgram, string>>;

const LOGIN_ALONE = 'LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS';
const name = (identifier: string): string => pg.escapeIdentifier(identifier);
/** SQLSTATE duplicate_object and insufficient_privilege (PostgreSQL documentation, appendix A). */
const THERE_ALREADY = '42710';
const NOT_ALLOWED = '42501';
const codeOf = (error: unknown): unknown => (error as { code?: unknown } | undefined)?.code;

/** The statements that an administrator of the server runs where the schema's owner may create no roles; psql asks for the passwords. */
export function roleStatements(roles: RoleNames): string {
  return Object.values(roles)
    .map((role) => `CREATE ROLE ${name(role)} ${LOGIN_ALONE};\n\\password ${name(role)}\n`)
    .join('');
}

/**
 * Makes a role that can log in by this password, or gives it this password.
 * @param database as a role that may create roles
 * @throws RolesError where it may not
 */
export async function ensureRole(database: Transactions, role: string, password: string): Promise<void> {
  const verifier = pg.escapeLiteral(scramVerifier(password));
  const set = `${LOGIN_ALONE} PASSWORD ${verifier}`;
  try {
    await database.query(`CREATE ROLE ${name(role)} ${set}`).catch(async (error: unknown) => {
      if (codeOf(error) !== THERE_ALREADY) throw error;
      await database.query(`ALTER ROLE ${name(role)} LOGIN PASSWORD ${verifier}`);
    });
  } catch (error) {
    if (codeOf(error) !== NOT_ALLOWED) throw error;
    throw new RolesError(
      `expected the role ${role} to log in by its URL, got none that does, and this one may create no roles`,
      {
        cause: error,
      },
    );
  }
}

/**
 * Gives each role what its program needs, and takes everything else. At once: who serves meanwhile is never without.
 * @param database as the owner of the schema
 * @throws RolesError where a role may do something else all the same
 */
export async function grantRoles(database: Transactions, roles: RoleNames): Promise<void> {
  const [place] = await database.query<{ schema: string; database: string }>(
    'SELECT current_schema()::text AS schema, current_database()::text AS database',
  );
  const [schema, base] = [name(place!.schema), name(place!.database)];
  await database.transaction(async ({ query }) => {
    await query(`REVOKE CREATE ON SCHEMA ${schema} FROM PUBLIC`);
    await query(`REVOKE CREATE, TEMPORARY ON DATABASE ${base} FROM PUBLIC`);
    for (const program of DATABASE_PROGRAMS) {
      const role = name(roles[program]);
      for (const kind of ['TABLES', 'SEQUENCES', 'FUNCTIONS'])
        await query(`REVOKE ALL ON ALL ${kind} IN SCHEMA ${schema} FROM ${role}`);
      await query(`REVOKE ALL ON SCHEMA ${schema} FROM ${role}`);
      await query(`REVOKE ALL ON DATABASE ${base} FROM ${role}`);
      await query(`GRANT CONNECT ON DATABASE ${base} TO ${role}`);
      await query(`GRANT USAGE ON SCHEMA ${schema} TO ${role}`);
      for (const [table, privileges] of Object.entries(GRANTS[program]))
        await query(`GRANT ${privileges.join(', ')} ON ${schema}.${name(table)} TO ${role}`);
    }
  });
  const wrong: string[] = [];
  for (const program of DATABASE_PROGRAMS)
    for (const line of await compareGrants(database, program, roles[program])) wrong.push(`${roles[program]}: ${line}`);
  if (wrong.length > 0)
    throw new RolesError(`expected roles that may do what their programs need, got ${wrong.join('; ')}`);
}
