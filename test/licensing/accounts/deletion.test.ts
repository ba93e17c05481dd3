import { randomUUID } from 'node:crypto';
import { Metadata, status } from '@grpc/grpc-js';
import { importJWK } from 'jose';
import type { CryptoKey } from 'jose';
import { createAuthority } from '../../../licensing/authority/authority';
import { deleteAccount, findDeletion } from '../../../licensing/accounts/deletion';
import { forgetAccountLimits } from '../../../licensing/limits/limits';
import { currentlyRevoked } from '../../../licensing/revocation/store';
import { callUnary } from '../../../runtime/rpc/client';
import { readRevocations, signRevocations } from '../../../attestation/trust/revocations';
import type { RpcError } from '../../../runtime/rpc/errors';
import { deleteUser } from '../../../functions/admin/users';
import { finishDeletions } from '../../../functions/login/deletion';
import type { DeleteAccountResponse, SignUpResponse } from '../../../proto/gen/licensing/v1/account';
import { recordsOf } from '../../support/audit';
import { TRUST_DOMAIN, writeAccountFiles } from '../../support/accounts';
import type { AccountFiles } from '../../support/accounts';
import { startEmbeddedTestPostgres } from '../../support/embedded-postgres';
import { TestCluster } from '../../support/enclave-objects';
import { giveLicence, insertLicence } from '../../support/licences';
import { byPassword, byRefreshToken, byToken, logIn, loginRequest, newClientKey } from '../../support/login-client';
import type { ClientKey } from '../../support/login-client';
import { revocationKey } from '../../support/login-trust';
import { migratedDatabase, noPostgres } from '../../support/postgres';
import { startReplica } from '../../support/replica';
import type { Replica } from '../../support/replica';
import { verifyAccessToken } from '../../../licensing/tokens/access-token';
import type { CertifiedKey } from '../../../runtime/keys/key-pair';

if (noPostgres !== undefined) console.warn(noPostgres);

const password = 'correct horse battery';
const TIMEOUT = { timeout: 120_000 };
const administrator = { name: 'grace' };

function outcome<T>(call: Promise<T>): Promise<T | string> {
  return call.catch((error: RpcError) => `${error.code} ${status[error.grpcStatus]}`);
}

function contract(open: () => Promise<{ url: string; stop(): Promise<void> }>): void {
  let server: { url: string; stop(): Promise<void> };
  let files: AccountFiles;
  let replicas: [Replica, Replica];
  let clientCa: CertifiedKey;
  let key: ClientKey;
  let cluster: TestCluster;
  let username: string;
  let user: string;
  let tokens: SignUpResponse;

  beforeAll(async () => {
    server = await open();
    files = await writeAccountFiles(server.url);
    clientCa = await createAuthority({ commonName: 'client CA', trustDomain: TRUST_DOMAIN, years: 1 });
    key = await newClientKey();
    cluster = new TestCluster(() => clientCa.certificate);
    const limits = { LOGIN_FAILURES_PER_ACCOUNT: 5, LOGIN_FAILURES_PER_ADDRESS: 10_000, SIGNUPS_PER_ADDRESS: 10_000 };
    const start = (): Promise<Replica> =>
      startReplica(files, clientCa, () => Promise.reject(new Error('not asked')), {
        launcher: cluster.launcher,
        limits,
      });
    replicas = await Promise.all([start(), start()]);
  });

  afterAll(async () => {
    await Promise.all([...replicas.map((replica) => replica.stop()), cluster.stop()]);
    await files.remove();
    await server.stop();
  });

  const database = (): Replica['backend']['database'] => replicas[0].backend.database;
  const signUp = (name: string, at = 0): Promise<SignUpResponse> =>
    callUnary(
      replicas[at]!.account,
      replicas[at]!.account.signUp,
      { username: name, password, clientName: `${name}s-laptop` },
      TIMEOUT,
    );
  const login = (credential = byToken(tokens.accessToken), enclave = '', at = 0): ReturnType<typeof logIn> =>
    logIn(replicas[at]!.login, loginRequest(key, credential, enclave));
  const remove = (at = 0, secret = password, accessToken = tokens.accessToken): Promise<DeleteAccountResponse> => {
    const metadata = new Metadata();
    if (accessToken !== '') metadata.set('authorization', `Bearer ${accessToken}`);
    return callUnary(
      replicas[at]!.deletion,
      replicas[at]!.deletion.deleteAccount,
      { password: secret, oneTimeCode: '', refreshToken: '' },
      { ...TIMEOUT, metadata },
    );
  };

  /** Every row of every table, as text; bytes as the text that they are. */
  const everything = async (): Promise<Array<{ table: string; row: string }>> => {
    await Promise.all(replicas.map(({ backend }) => backend.refusals.flush()));
    const tables = await database().query<{ name: string }>(
      `SELECT table_name AS name FROM information_schema.tables WHERE table_schema = 'public' AND table_type = 'BASE TABLE'`,
    );
    expect(tables.length).toBeGreaterThan(10);
    const rows = await Promise.all(
      tables.map(async ({ name }) =>
        (await database().query<{ row: string }>(`SELECT to_json(t)::text AS row FROM "${name}" t`)).map(({ row }) => ({
          table: name,
          row: row.replace(/\\\\x([0-9a-f]+)/g, (_, hex: string) => Buffer.from(hex, 'hex').toString('utf8')),
        })),
      ),
    );
    return rows.flat();
  };
  const tablesWith = async (text: string): Promise<string[]> =>
    [...new Set((await everything()).filter(({ row }) => row.includes(text)).map(({ table }) => table))].sort();

  beforeEach(async () => {
    cluster.failing = false;
    cluster.beforeStart = () => Promise.resolve();
    username = `quetzalcoatl${randomUUID().slice(0, 8)}`;
    tokens = await signUp(username);
    ({ user } = await verifyAccessToken(replicas[0].backend.tokenKeys, tokens.accessToken, {
      trustDomain: TRUST_DOMAIN,
    }));
  });

  /** Leaves traces wherever a user can. */
  const live = async (): Promise<void> => {
    await login();
    await login(byPassword(username, password), `${username}-lab`, 1);
    for (let i = 0; i < 3; i++) await outcome(login(byPassword(username, 'not the password')));
    await giveLicence(database(), await insertLicence(database()), user);
  };

  test('afterwards no table holds the username, and what is left of the user is an id in the audit and in the list of deleted ones', async () => {
    await live();
    expect(await tablesWith(username)).toEqual(expect.arrayContaining(['accounts', 'enclaves', 'sessions']));
    const limitsBefore = (await everything()).filter(({ table }) => table === 'limits').length;
    expect(await remove()).toEqual({ enclavesRemoved: true });
    expect(await tablesWith(username)).toEqual([]);
    // Refusals are counted by id until their minute is recorded.
    expect(await tablesWith(user)).toEqual(['audit', 'audit_refusals', 'deleted_users']);
    expect(cluster.of(user)).toEqual([]);
    // Failures of the account from this address were one bucket of its own.
    expect((await everything()).filter(({ table }) => table === 'limits').length).toBeLessThan(limitsBefore);
    const audit = (await recordsOf(database())).filter(({ detail }) => detail['user'] === user);
    expect(audit.at(-1)).toMatchObject({ kind: 'account.deleted', detail: { user } });
  });

  test('from then on nothing of the user is good any more, on either replica, and the name is free for somebody else', async () => {
    await live();
    await remove();
    for (const at of [0, 1]) {
      expect(await outcome(login(byToken(tokens.accessToken), '', at))).toBe('login.session_ended UNAUTHENTICATED');
      expect(await outcome(login(byRefreshToken(tokens.refreshToken), '', at))).toBe(
        'login.refresh_invalid UNAUTHENTICATED',
      );
      expect(await outcome(login(byPassword(username, password), '', at))).toBe(
        'login.wrong_credentials UNAUTHENTICATED',
      );
    }
    const again = await verifyAccessToken(replicas[0].backend.tokenKeys, (await signUp(username, 1)).accessToken, {
      trustDomain: TRUST_DOMAIN,
    });
    expect(again.user).not.toBe(user);
    expect(cluster.of(again.user)).toEqual([]);
  });

  test("the user's client certificates end with the next revocation list, whichever session they are of", async () => {
    await login();
    expect((await currentlyRevoked(database())).users).not.toContain(user);
    await remove();
    expect((await currentlyRevoked(database())).users).toContain(user);
  });

  test('a user who had no certificate stands in no revocation list: nobody makes that larger by signing up and leaving', async () => {
    await remove();
    expect((await currentlyRevoked(database())).users).not.toContain(user);
    // A login that began before learns it all the same.
    expect((await currentlyRevoked(database(), user)).users).toContain(user);
  });

  test('a user whose certificates are over stands in no revocation list either', async () => {
    await login();
    await database().query(`UPDATE sessions SET certified_until = now() - interval '1 minute' WHERE user_id = $1`, [
      user,
    ]);
    await remove();
    expect((await currentlyRevoked(database())).users).not.toContain(user);
  });

  test('however many users and sessions end with certificates that are good, clients read the list', async () => {
    await database().query(
      `INSERT INTO deleted_users (user_id, enclaves_removed_at, certified_until) SELECT gen_random_uuid(), now(), now() + interval '1 hour' FROM generate_series(1, 15000)`,
    );
    await database().query(
      `INSERT INTO sessions (id, user_id, authenticated_at, expires_at, certified_until, client_name, client_address, revoked_at)
       SELECT gen_random_uuid(), $1, now(), now() + interval '1 day', now() + interval '1 hour', '', '', now() FROM generate_series(1, 15000)`,
      [user],
    );
    const signer = { kid: 'revocation', key: (await importJWK(revocationKey.privateKey, 'ES256')) as CryptoKey };
    const list = await signRevocations(
      { ...(await currentlyRevoked(database())), trustSequence: 1 },
      signer,
      new Date(),
    );
    expect((await readRevocations(list, [revocationKey.publicKey], new Date())).users.length).toBeGreaterThan(1_000);
    await database().query('DELETE FROM deleted_users WHERE certified_until IS NOT NULL');
    await database().query('DELETE FROM sessions WHERE revoked_at IS NOT NULL');
  });

  test('what was counted for more sessions than a statement has parameters or takes in its time is forgotten all the same, and that of others is not', async () => {
    const [gone, other] = [randomUUID(), randomUUID()];
    const { limits } = replicas[0].backend;
    for (const session of [gone, other]) await limits.codeAttempt(user, session);
    const count = async (): Promise<number> =>
      (await everything()).filter(({ table, row }) => table === 'limits' && row.includes('"code')).length;
    const before = await count();
    await database().transaction((queries) =>
      forgetAccountLimits(queries, [username], [gone, ...Array.from({ length: 70_000 }, () => randomUUID())]),
    );
    expect(await count()).toBe(before - 2);
  });

  test("the password is asked for again: a token alone, a wrong one, or nobody's token deletes nothing; guesses are limited", async () => {
    expect(await outcome(remove(0, password, ''))).toBe('login.token_missing UNAUTHENTICATED');
    expect(await outcome(remove(0, ''))).toBe('login.wrong_credentials UNAUTHENTICATED');
    for (let i = 0; i < 4; i++)
      expect(await outcome(remove(i % 2, 'not the password'))).toBe('login.wrong_credentials UNAUTHENTICATED');
    expect(await outcome(remove())).toBe('login.limited RESOURCE_EXHAUSTED');
    expect(await tablesWith(username)).toContain('accounts');
  });

  test('two calls on two replicas at once delete it once, and both are told so or that the session is over', async () => {
    await live();
    const results = await Promise.all([0, 1, 0, 1].map((at) => outcome(remove(at))));
    for (const result of results)
      expect([{ enclavesRemoved: true }, 'login.session_ended UNAUTHENTICATED']).toContainEqual(result);
    expect(results).toContainEqual({ enclavesRemoved: true });
    const audit = (await recordsOf(database())).filter(
      ({ kind, detail }) => kind === 'account.deleted' && detail['user'] === user,
    );
    expect(audit).toHaveLength(1);
  });

  test('a cluster that is away in the middle: the account is gone all the same, and its enclaves go when it is back', async () => {
    await live();
    cluster.failing = true;
    expect(await remove()).toEqual({ enclavesRemoved: false });
    expect(await tablesWith(username)).toEqual([]);
    expect(cluster.of(user)).toHaveLength(2);
    await finishDeletions(database(), replicas[1].enclaves, replicas[1].launcher);
    expect(await findDeletion(database(), user)).toEqual({ enclavesRemoved: false });
    cluster.failing = false;
    await Promise.all(replicas.map((replica) => finishDeletions(database(), replica.enclaves, replica.launcher)));
    expect(cluster.of(user)).toEqual([]);
    expect(await findDeletion(database(), user)).toEqual({ enclavesRemoved: true });
  });

  test('a service that dies in the middle: before the transaction nothing happened, after it the next one goes on', async () => {
    await live();
    // As much as a process did that was killed after its transaction.
    await deleteAccount(database(), user, { kind: 'account.deleted', detail: { user } });
    expect(cluster.of(user)).toHaveLength(2);
    await finishDeletions(database(), replicas[0].enclaves, replicas[0].launcher);
    expect(cluster.of(user)).toEqual([]);
  });

  test('a transaction that fails changes nothing at all', async () => {
    await live();
    await database().query(
      `CREATE FUNCTION no_audit() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'the disk is full'; END $$`,
    );
    await database().query('CREATE TRIGGER no_audit BEFORE INSERT ON audit FOR EACH ROW EXECUTE FUNCTION no_audit()');
    expect(await outcome(remove())).toBe('internal INTERNAL');
    await database().query('DROP TRIGGER no_audit ON audit');
    await database().query('DROP FUNCTION no_audit');
    expect(await tablesWith(user)).toEqual(
      expect.arrayContaining(['accounts', 'enclaves', 'licence_redemptions', 'sessions']),
    );
    expect(await findDeletion(database(), user)).toBeUndefined();
    expect(cluster.of(user)).toHaveLength(2);
    await remove();
  });

  test('an enclave that starts while its user is deleted is not handed out, and nothing of it stays', async () => {
    cluster.beforeStart = async () => void (await remove(1));
    expect(await outcome(login(byPassword(username, password), 'lab'))).toBe('login.revoked UNAUTHENTICATED');
    expect(cluster.of(user)).toEqual([]);
    // Refusals are counted by id until their minute is recorded.
    expect(await tablesWith(user)).toEqual(['audit', 'audit_refusals', 'deleted_users']);
  });

  test('the id is forgotten once nothing that was certified is good any more, and not before its enclaves are gone', async () => {
    await live();
    await remove();
    const { enclaves, launcher } = replicas[0];
    await finishDeletions(database(), enclaves, launcher);
    expect(await findDeletion(database(), user)).toBeDefined();
    await database().query(
      `UPDATE deleted_users SET deleted_at = now() - interval '3 days', enclaves_removed_at = NULL WHERE user_id = $1`,
      [user],
    );
    cluster.failing = true;
    await finishDeletions(database(), enclaves, launcher);
    expect(await findDeletion(database(), user)).toBeDefined();
    cluster.failing = false;
    await finishDeletions(database(), enclaves, launcher);
    expect(await tablesWith(user)).toEqual(['audit', 'audit_refusals']);
  });

  describe('by an administrator', () => {
    const enclaves = {
      end: () => Promise.reject(new Error('not asked')),
      remove: (id: string) => cluster.launcher.removeAll!(id),
    };
    const byAdministrator = (request: {
      user?: string;
      username?: string;
      reason?: string;
    }): ReturnType<typeof deleteUser> =>
      deleteUser(database(), enclaves, administrator, {
        user: '',
        username: '',
        reason: 'left the company',
        ...request,
      });

    test('needs no password, and the record says who did it and why, without the name', async () => {
      await live();
      expect(await byAdministrator({ username: username.toUpperCase() })).toEqual({ user, enclavesRemoved: true });
      expect(await tablesWith(username)).toEqual([]);
      expect(cluster.of(user)).toEqual([]);
      const audit = await recordsOf(database());
      expect(audit.at(-1)).toMatchObject({
        kind: 'admin.delete_user',
        detail: { administrator: 'grace', subject: `user/${user}`, reason: 'left the company' },
      });
    });

    test('that fails in the middle is gone on with by another call with the id', async () => {
      await live();
      cluster.failing = true;
      expect(await byAdministrator({ user })).toEqual({ user, enclavesRemoved: false });
      cluster.failing = false;
      expect(await byAdministrator({ user })).toEqual({ user, enclavesRemoved: true });
      expect(cluster.of(user)).toEqual([]);
    });

    test('of nobody, of two at once or without a reason is refused', async () => {
      expect(await outcome(byAdministrator({ username: 'nobody.here' }))).toBe('admin.no_such_user NOT_FOUND');
      expect(await outcome(byAdministrator({ user: randomUUID() }))).toBe('admin.no_such_user NOT_FOUND');
      expect(await outcome(byAdministrator({}))).toBe('admin.subject INVALID_ARGUMENT');
      expect(await outcome(byAdministrator({ user, username }))).toBe('admin.subject INVALID_ARGUMENT');
      expect(await outcome(byAdministrator({ user: "x' OR true --" }))).toBe('admin.user_id INVALID_ARGUMENT');
      expect(await outcome(byAdministrator({ user, reason: ' ' }))).toBe('admin.reason INVALID_ARGUMENT');
    });
  });
}

describe('deleting a user on embedded PostgreSQL', () => contract(startEmbeddedTestPostgres));
(noPostgres === undefined ? describe : describe.skip)('deleting a user on PostgreSQL', () =>
  contract(migratedDatabase),
);
