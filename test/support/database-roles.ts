import { randomBytes } from 'node:crypto';
import pg from 'pg';
import { withConnection } from '../../licensing/store/connection';
import { DATABASE_PROGRAMS } from '../../licensing/store/grants';
import type { DatabaseProgram } from '../../licensing/store/grants';
import { ensureRole, grantRoles } from '../../licensing/store/roles';
import type { RoleNames } from '../../licensing/store/roles';
import { administer } from './cluster';
import { migratedDatabase } from './postgres';
import type { TestDatabase } from './postgres';

export interface DatabaseWithRoles extends TestDatabase {
  names: RoleNames;
  /** Of each program, by its own role. */
  urls: Record<DatabaseProgram, string>;
}

/** `url` with another user. */
export function urlAs(url: string, user: string, password: string): string {
  const as = new URL(url);
  as.username = user;
  as.password = password;
  return as.toString();
}

/** A database on the shared server that has the schema, and a role for each program. */
export async function databaseWithRoles(): Promise<DatabaseWithRoles> {
  const database = await migratedDatabase();
  const mark = randomBytes(6).toString('hex');
  const each = <T>(value: (program: DatabaseProgram) => T) =>
    Object.fromEntries(DATABASE_PROGRAMS.map((program) => [program, value(program)])) as Record<DatabaseProgram, T>;
  const names = each((program) => `sls_test_${mark}_${program}`);
  await withConnection(database.url, 'test', async (owner) => {
    for (const role of Object.values(names)) await ensureRole(owner, role, mark);
    await grantRoles(owner, names);
  });
  return {
    url: database.url,
    names,
    urls: each((program) => urlAs(database.url, names[program], mark)),
    async stop() {
      const server = new URL(database.url);
      server.pathname = '/postgres';
      await database.stop();
      await administer(
        server.toString(),
        ...Object.values(names).map((role) => `DROP ROLE ${pg.escapeIdentifier(role)}`),
      );
    },
  };
}
