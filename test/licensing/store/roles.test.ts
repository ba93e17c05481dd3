import { randomUUID } from 'node:crypto';
import pg from 'pg';
import { recordAudit } from '../../../licensing/audit/audit';
import { withConnection } from '../../../licensing/store/connection';
import { openDatabase } from '../../../licensing/store/database';
import { DATABASE_PROGRAMS, GRANTS } from '../../../licensing/store/grants';
import { compareGrants } from '../../../licensing/store/privileges';
import { ensureRole, grantRoles, roleStatements } from '../../../licensing/store/roles';
import { openTestLog } from '../../support/audit';
import { databaseWithRoles, urlAs } from '../../support/database-roles';
import type { DatabaseWithRoles } from '../../support/database-roles';
import { noPostgres } from '../../support/postgres';

if (noPostgres !== undefined) console.warn(noPostgres);

let server: DatabaseWithRoles;
let owner: pg.Client;

(noPostgres === undefined ? describe : describe.skip)('roles of the programs', () => {
  beforeAll(async () => {
    server = await databaseWithRoles();
    owner = new pg.Client(server.url);
    await owner.connect();
    const database = openDatabase(server.url, { poolSize: 2 });
    for (let nth = 0; nth < 3; nth++) await recordAudit(database, { kind: 'test', detail: { nth } });
    const log = openTestLog(database);
    await log.update();
    log.close();
    await recordAudit(database, { kind: 'test', detail: { place: 'none yet' } });
    await database.close();
  });
  afterAll(async () => {
    await owner.end();
    await server.stop();
  });

  /** All of the log that an attacker would want to change. */
  const log = async (): Promise<unknown> => {
    const tables = ['audit', 'audit_nodes', 'audit_tree'];
    const found: unknown[] = [];
    for (const table of tables) found.push((await owner.query(`SELECT * FROM ${table} ORDER BY 1, 2`)).rows);
    return found;
  };
  const asQueries = {
    query: async (text: string, values: readonly unknown[] = []) => (await owner.query(text, [...values])).rows,
  } as never;

  test.each(DATABASE_PROGRAMS)(
    '%s may do what the table of grants says, by the word of the server, and nothing else',
    async (program) => {
      const { rows } = await owner.query<{ table: string; privilege: string; columns: string | null }>(
        `SELECT table_name AS table, privilege_type AS privilege, NULL AS columns FROM information_schema.role_table_grants WHERE grantee = $1
       UNION ALL SELECT g.table_name, g.privilege_type, string_agg(g.column_name, ', ') FROM information_schema.role_column_grants g
       WHERE g.grantee = $1 AND NOT EXISTS (SELECT 1 FROM information_schema.role_table_grants t
         WHERE t.grantee = $1 AND t.table_name = g.table_name AND t.privilege_type = g.privilege_type)
       GROUP BY g.table_name, g.privilege_type`,
        [server.names[program]],
      );
      const split = (text: string): string[] => [...text.matchAll(/\w+/g)].map(([word]) => word);
      const said = rows.map(({ table, privilege, columns }) =>
        [table, privilege, ...split(columns ?? '').sort()].join(' '),
      );
      const wanted = Object.entries(GRANTS[program]).flatMap(([table, privileges]) =>
        privileges.map((privilege) => {
          const [verb, ...columns] = split(privilege);
          return [table, verb, ...columns.sort()].join(' ');
        }),
      );
      expect(said.sort()).toEqual(wanted.sort());
      expect(await compareGrants(asQueries, program, server.names[program])).toEqual([]);
    },
  );

  const ATTACKS = [
    ['UPDATE of a record', `UPDATE audit SET record = 'x'`],
    ['UPDATE of its hash', `UPDATE audit SET leaf_sha256 = sha256('x')`],
    ['UPDATE of its id', `UPDATE audit SET id = DEFAULT`],
    ['another place of it', `UPDATE audit SET sequence = 1 - sequence WHERE sequence < 2`],
    ['no place of it', `UPDATE audit SET sequence = NULL WHERE sequence = 0`],
    ['DELETE of records', 'DELETE FROM audit'],
    ['DELETE of one without a place', 'DELETE FROM audit WHERE sequence IS NULL'],
    ['TRUNCATE', 'TRUNCATE audit CASCADE'],
    [
      'a record with a place of its own',
      `INSERT INTO audit (record, leaf_sha256, sequence) VALUES ('y', sha256('\\x00'::bytea || 'y'), 99)`,
    ],
    [
      'a record with an id of its own',
      `INSERT INTO audit (id, record, leaf_sha256) OVERRIDING SYSTEM VALUE VALUES (-1, 'z', sha256('\\x00'::bytea || 'z'))`,
    ],
    ['UPDATE of nodes', `UPDATE audit_nodes SET sha256 = 'x'`],
    ['DELETE of nodes', 'DELETE FROM audit_nodes'],
    ['TRUNCATE of nodes', 'TRUNCATE audit_nodes'],
    ['a smaller tree', 'UPDATE audit_tree SET size = 0'],
    ['no tree', 'DELETE FROM audit_tree'],
    ['DISABLE TRIGGER', 'ALTER TABLE audit DISABLE TRIGGER ALL'],
    ['DISABLE TRIGGER of users', 'ALTER TABLE audit DISABLE TRIGGER USER'],
    ['DROP TRIGGER', 'DROP TRIGGER audit_no_delete ON audit'],
    [
      'a trigger of its own',
      'CREATE TRIGGER mine BEFORE INSERT ON audit FOR EACH ROW EXECUTE FUNCTION audit_of_before()',
    ],
    ['a rule', 'CREATE RULE mine AS ON INSERT TO audit DO INSTEAD NOTHING'],
    [
      'another function under the trigger',
      `CREATE OR REPLACE FUNCTION audit_only_grows() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN OLD; END'`,
    ],
    ['DROP of the function', 'DROP FUNCTION audit_only_grows() CASCADE'],
    ['DROP TABLE', 'DROP TABLE audit CASCADE'],
    ['another column', 'ALTER TABLE audit ADD COLUMN mine int'],
    ['a constraint less', 'ALTER TABLE audit DROP CONSTRAINT audit_leaf_of_record'],
    ['another name', 'ALTER TABLE audit RENAME TO other'],
    ['ownership', 'ALTER TABLE audit OWNER TO CURRENT_USER'],
    ['row security', 'ALTER TABLE audit ENABLE ROW LEVEL SECURITY'],
    ['session_replication_role', `SET session_replication_role = replica`],
    ['the role of the owner', `SET ROLE THE_OWNER`],
    ['the session of the owner', `SET SESSION AUTHORIZATION THE_OWNER`],
    ['a role', 'CREATE ROLE mine SUPERUSER'],
    ['more rights for itself', 'ALTER ROLE CURRENT_USER SUPERUSER'],
    ['a grant to itself', 'GRANT ALL ON audit TO CURRENT_USER'],
    ['a grant to everybody', 'GRANT UPDATE ON audit TO PUBLIC'],
    ['a table before the table', 'CREATE TEMPORARY TABLE audit (n int)'],
    ['a table of its own', 'CREATE TABLE mine (n int)'],
    ['a schema of its own', 'CREATE SCHEMA mine'],
    ['an extension', 'CREATE EXTENSION pgcrypto'],
    ['a file of the server', `COPY accounts FROM '/etc/passwd'`],
    ['a program of the server', `COPY accounts FROM PROGRAM 'id'`],
    ['a migration that seems applied', `INSERT INTO schema_migrations (name, sha256) VALUES ('9999-x', 'x')`],
    ['another installation', 'UPDATE installation SET id = gen_random_uuid()'],
  ] as const;
  // restrict_violation is the trigger's word where a privilege doesn't decide: which places are given, and that the tree grows.
  const REFUSED = /^(42501|23001)$/;

  test.each(DATABASE_PROGRAMS)(
    'whoever is %s can neither change nor remove anything of the audit log, nor get the means',
    async (program) => {
      const before = await log();
      for (const [what, sql] of ATTACKS) {
        const attacker = new pg.Client(server.urls[program]);
        await attacker.connect();
        // A GRANT by somebody who may give nothing is a warning. What it gave would be seen below.
        const refused = await attacker.query(sql.replace('THE_OWNER', new URL(server.url).username)).then(
          ({ command }) => command,
          ({ code }: { code?: string }) => code,
        );
        if (what.startsWith('a grant'))
          expect({ what, refused }).toEqual({ what, refused: expect.stringMatching(/^(GRANT|42501)$/) as string });
        else expect({ what, refused }).toEqual({ what, refused: expect.stringMatching(REFUSED) as string });
        await attacker.end();
      }
      expect(await log()).toEqual(before);
      expect(await compareGrants(asQueries, program, server.names[program])).toEqual([]);
    },
  );

  test('who was given something by hand, or by way of everybody, is named, and the next grant takes it away', async () => {
    const role = server.names.enrol;
    await owner.query(`GRANT SELECT (password_hash), UPDATE ON accounts TO ${role}`);
    await owner.query(`REVOKE SELECT ON revocations FROM ${role}`);
    expect((await compareGrants(asQueries, 'enrol', role)).sort()).toEqual([
      'missing: SELECT on revocations',
      'too much: SELECT (password_hash) on accounts',
      'too much: UPDATE on accounts',
    ]);
    await withConnection(server.url, 'test', (connection) => grantRoles(connection, server.names));
    expect(await compareGrants(asQueries, 'enrol', role)).toEqual([]);
    await owner.query('GRANT SELECT ON accounts TO PUBLIC');
    await expect(
      withConnection(server.url, 'test', (connection) => grantRoles(connection, server.names)),
    ).toRejectWithCode('store.roles');
    await owner.query('REVOKE ALL ON accounts FROM PUBLIC');
  });

  test.each([
    [
      'owns a table',
      (role: string) => `CREATE TABLE mine (n int); ALTER TABLE mine OWNER TO ${role}`,
      'owns mine',
      'DROP TABLE mine',
    ],
    ['is a superuser', (role: string) => `ALTER ROLE ${role} SUPERUSER`, 'is a superuser', undefined],
    ['may create roles', (role: string) => `ALTER ROLE ${role} CREATEROLE`, 'may create roles', undefined],
    [
      'is a member of another role',
      (role: string) => `GRANT pg_write_all_data TO ${role}`,
      'is a member of pg_write_all_data',
      undefined,
    ],
  ])('a role that %s is none for a program', async (_, give, power, takeBack) => {
    const role = server.names.reaper;
    await owner.query(give(role));
    const refused = withConnection(server.url, 'test', (connection) => grantRoles(connection, server.names));
    await expect(refused).rejects.toThrow(`${role}: too much: ${power}`);
    if (takeBack !== undefined) await owner.query(takeBack);
    await owner.query(`ALTER ROLE ${role} NOSUPERUSER NOCREATEROLE`);
    await owner.query(`REVOKE pg_write_all_data FROM ${role}`);
  });

  test('a role gets its password anew, and one that may create no roles says so', async () => {
    const role = server.names.signup;
    const read = async (): Promise<string> =>
      (await owner.query<{ kept: string }>('SELECT rolpassword AS kept FROM pg_authid WHERE rolname = $1', [role]))
        .rows[0]!.kept;
    const before = await read();
    await withConnection(server.url, 'test', (connection) => ensureRole(connection, role, 'another'));
    expect(await read()).toMatch(/^SCRAM-SHA-256\$4096:/);
    expect(await read()).not.toBe(before);
    const weak = `sls_test_${randomUUID().slice(0, 8)}`;
    await owner.query(`CREATE ROLE ${weak} LOGIN`);
    await expect(
      withConnection(urlAs(server.url, weak, ''), 'test', (connection) => ensureRole(connection, `${weak}_login`, 'x')),
    ).toRejectWithCode('store.roles');
    await owner.query(`DROP ROLE ${weak}`);
  });

  test('the statements for an administrator name each role, and no password', () => {
    expect(
      roleStatements(server.names)
        .split('\n')
        .filter((line) => line.startsWith('CREATE ROLE')),
    ).toEqual(
      DATABASE_PROGRAMS.map(
        (program) =>
          `CREATE ROLE "${server.names[program]}" LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS;`,
      ),
    );
  });
});
