import { randomBytes, randomUUID } from 'node:crypto';
import { Metadata, status } from '@grpc/grpc-js';
import { createAuthority } from '../../../licensing/authority/authority';
import { currentlyRevoked, revoke } from '../../../licensing/revocation/store';
import { callUnary } from '../../../runtime/rpc/client';
import type { RpcError } from '../../../runtime/rpc/errors';
import {
  MAX_SESSIONS,
  REUSE_GRACE_SECONDS,
  revokeSessions,
  SESSION_DAYS,
  SESSION_IDLE_DAYS,
} from '../../../licensing/sessions/sessions';
import { verifyAccessToken } from '../../../licensing/tokens/access-token';
import type { Enclave } from '../../../functions/login/launcher/launcher';
import type { ChangePasswordResponse, SignUpResponse } from '../../../proto/gen/licensing/v1/account';
import type { LoginRequest } from '../../../proto/gen/licensing/v1/login';
import { recordsOf } from '../../support/audit';
import { beginSession, TRUST_DOMAIN, writeAccountFiles } from '../../support/accounts';
import type { AccountFiles } from '../../support/accounts';
import { startEmbeddedTestPostgres } from '../../support/embedded-postgres';
import { startEnclaveEndpoint } from '../../support/enclave-endpoint';
import { byPassword, byRefreshToken, byToken, logIn, loginRequest, newClientKey } from '../../support/login-client';
import type { ClientKey } from '../../support/login-client';
import { migratedDatabase, noPostgres, untilBlocking } from '../../support/postgres';
import { startReplica } from '../../support/replica';
import type { Replica } from '../../support/replica';
import type { CertifiedKey } from '../../../runtime/keys/key-pair';

if (noPostgres !== undefined) console.warn(noPostgres);

const password = 'correct horse battery';
const trust = { trustDomain: TRUST_DOMAIN };

let clientCa: CertifiedKey;
let key: ClientKey;
const enclaves = new Map<string, Enclave>();
let launched: () => Promise<void> = () => Promise.resolve();

async function enclaveOf(user: string): Promise<Enclave> {
  await launched();
  return enclaves.get(user) as Enclave;
}

/** What a call gives, or the refusal's code and status. */
function outcome<T>(call: Promise<T>): Promise<T | string> {
  return call.catch((error: RpcError) => `${error.code} ${status[error.grpcStatus]}`);
}

function bearer(token: string): Metadata {
  const metadata = new Metadata();
  metadata.set('authorization', `Bearer ${token}`);
  return metadata;
}

function contract(open: () => Promise<{ url: string; stop(): Promise<void> }>): void {
  let server: { url: string; stop(): Promise<void> };
  let files: AccountFiles;
  let replicas: [Replica, Replica];
  const stops: Array<() => Promise<void>> = [];

  beforeAll(async () => {
    server = await open();
    files = await writeAccountFiles(server.url);
    clientCa = await createAuthority({ commonName: 'client CA', trustDomain: TRUST_DOMAIN, years: 1 });
    key = await newClientKey();
    replicas = await Promise.all([startReplica(files, clientCa, enclaveOf), startReplica(files, clientCa, enclaveOf)]);
  });

  afterAll(async () => {
    await Promise.all([...replicas.map((replica) => replica.stop()), ...stops.map((stop) => stop())]);
    await files.remove();
    await server.stop();
  });

  const TIMEOUT = { timeout: 120_000 };
  const signUp = (username: string, at = 0): Promise<SignUpResponse> =>
    callUnary(
      replicas[at]!.account,
      replicas[at]!.account.signUp,
      { username, password, clientName: 'laptop' },
      TIMEOUT,
    );
  const refresh = (refreshToken: string, at = 0): ReturnType<typeof signUp> =>
    callUnary(replicas[at]!.account, replicas[at]!.account.refresh, { refreshToken, clientName: 'laptop' }, TIMEOUT);
  const login = async (credential: LoginRequest['credential'], at = 0): ReturnType<typeof logIn> =>
    logIn(replicas[at]!.login, loginRequest(key, credential));
  const list = (
    token: string,
  ): ReturnType<
    typeof callUnary<
      object,
      { sessions: Array<{ session: string; clientName: string; clientAddress: string; current: boolean }> }
    >
  > => callUnary(replicas[0].account, replicas[0].account.listSessions, {}, { ...TIMEOUT, metadata: bearer(token) });
  const sessionOf = async (token: string): Promise<string> =>
    (await verifyAccessToken(replicas[0].backend.tokenKeys, token, trust)).session;
  const sql = <Row extends object>(text: string, values: string[]): Promise<Row[]> =>
    replicas[0].backend.database.query<Row>(text, values);
  /** Makes all uses of tokens of a session older. */
  const pass = (session: string, seconds: number): Promise<unknown> =>
    sql(`UPDATE refresh_tokens SET used_at = used_at - make_interval(secs => $2::int) WHERE session_id = $1`, [
      session,
      String(seconds),
    ]);

  async function person(username: string): Promise<SignUpResponse & { user: string; session: string }> {
    const tokens = await signUp(username);
    const { user, session } = await verifyAccessToken(replicas[0].backend.tokenKeys, tokens.accessToken, trust);
    const endpoint = await startEnclaveEndpoint({ user, clientCa: clientCa.certificate });
    stops.push(() => endpoint.stop());
    enclaves.set(user, endpoint.location);
    return { ...tokens, user, session };
  }

  test('a session goes on from token to token, over sign-up, login and refresh, on any replica', async () => {
    const { refreshToken, session } = await person('ada');
    const first = await login(byRefreshToken(refreshToken), 1);
    const second = await refresh(first.result.refreshToken, 0);
    const third = await login(byRefreshToken(second.refreshToken), 0);
    expect(
      new Set([refreshToken, first.result.refreshToken, second.refreshToken, third.result.refreshToken]).size,
    ).toBe(4);
    for (const token of [first.result.accessToken, second.accessToken, third.result.accessToken])
      expect(await sessionOf(token)).toBe(session);
    expect((await list(third.result.accessToken)).sessions).toMatchObject([
      { session, clientName: 'test', clientAddress: '127.0.0.1', current: true },
    ]);
  });

  test('Refresh token stolen: replay of a rotated one revokes the whole family, with a record', async () => {
    const { refreshToken, session, user } = await person('bob');
    const owner = await refresh(refreshToken);
    const newest = await refresh(owner.refreshToken);
    await pass(session, REUSE_GRACE_SECONDS + 1);
    // The first of the family comes back, on the other replica, long after it was used.
    expect(await outcome(refresh(refreshToken, 1))).toBe('login.refresh_reused UNAUTHENTICATED');
    for (const token of [newest.refreshToken, owner.refreshToken, refreshToken]) {
      expect(await outcome(refresh(token))).toBe('login.session_ended UNAUTHENTICATED');
      expect(await outcome(login(byRefreshToken(token)))).toBe('login.session_ended UNAUTHENTICATED');
    }
    expect(await outcome(login(byToken(newest.accessToken)))).toBe('login.session_ended UNAUTHENTICATED');
    expect(await outcome(list(newest.accessToken))).toBe('login.session_ended UNAUTHENTICATED');
    const records = (await recordsOf(replicas[0].backend.database)).filter(
      ({ detail }) => detail['session'] === session,
    );
    expect(records).toMatchObject([{ kind: 'session.revoked', detail: { user, session, because: 'reuse' } }]);
  });

  test('Refresh token stolen: replay at login revokes the family as well', async () => {
    const { refreshToken, session } = await person('bea');
    const { result } = await login(byRefreshToken(refreshToken));
    const newest = await refresh(result.refreshToken);
    await pass(session, REUSE_GRACE_SECONDS + 1);
    expect(await outcome(login(byRefreshToken(refreshToken), 1))).toBe('login.refresh_reused UNAUTHENTICATED');
    expect(await outcome(refresh(newest.refreshToken))).toBe('login.session_ended UNAUTHENTICATED');
  });

  test('the last message of a refresh or a login that is lost costs nobody the session: the old token is good until its successor is used', async () => {
    const { refreshToken, session } = await person('bev');
    await refresh(refreshToken);
    // At first it may still be another process's.
    expect(await outcome(refresh(refreshToken, 1))).toBe('login.refresh_raced ABORTED');
    await pass(session, REUSE_GRACE_SECONDS + 1);
    await login(byRefreshToken(refreshToken), 1);
    await pass(session, REUSE_GRACE_SECONDS + 1);
    const arrived = await refresh(refreshToken);
    const next = await refresh(arrived.refreshToken, 1);
    await pass(session, REUSE_GRACE_SECONDS + 1);
    expect(await sessionOf((await refresh(next.refreshToken)).accessToken)).toBe(session);
  });

  describe('Refresh token stolen, and used by the thief', () => {
    // Whoever is told so has to log in again, and the other one has nothing any more.
    const isOver = async (session: string, tokens: string[]): Promise<void> => {
      for (const token of tokens) expect(await outcome(refresh(token))).toBe('login.session_ended UNAUTHENTICATED');
      const records = (await recordsOf(replicas[0].backend.database)).filter(
        ({ detail }) => detail['session'] === session,
      );
      expect(records).toMatchObject([{ kind: 'session.revoked', detail: { session, because: 'reuse' } }]);
    };

    test('after its owner, who has the successor: the session ends when the owner uses that', async () => {
      const { refreshToken, session } = await person('bill');
      const owner = await refresh(refreshToken);
      await pass(session, REUSE_GRACE_SECONDS + 1);
      const thief = await refresh(refreshToken, 1);
      expect(await outcome(refresh(owner.refreshToken))).toBe('login.refresh_reused UNAUTHENTICATED');
      await isOver(session, [thief.refreshToken, refreshToken, owner.refreshToken]);
    });

    test('after its owner, and again: the session ends when the owner comes back', async () => {
      const { refreshToken, session } = await person('bess');
      const owner = await refresh(refreshToken);
      await pass(session, REUSE_GRACE_SECONDS + 1);
      const thief = await refresh(refreshToken, 1);
      const onward = await refresh(thief.refreshToken, 1);
      expect(await outcome(login(byRefreshToken(owner.refreshToken)))).toBe('login.refresh_reused UNAUTHENTICATED');
      await isOver(session, [onward.refreshToken]);
    });

    test('before its owner: the session ends when the thief comes back', async () => {
      const { refreshToken, session } = await person('bram');
      const thief = await refresh(refreshToken, 1);
      await pass(session, REUSE_GRACE_SECONDS + 1);
      const owner = await refresh(refreshToken);
      expect(await outcome(refresh(thief.refreshToken, 1))).toBe('login.refresh_reused UNAUTHENTICATED');
      await isOver(session, [owner.refreshToken]);
    });

    test('before its owner, and again: the session ends when the owner comes', async () => {
      const { refreshToken, session } = await person('bibi');
      const thief = await refresh(refreshToken, 1);
      const onward = await refresh(thief.refreshToken, 1);
      await pass(session, REUSE_GRACE_SECONDS + 1);
      expect(await outcome(refresh(refreshToken))).toBe('login.refresh_reused UNAUTHENTICATED');
      await isOver(session, [onward.refreshToken]);
    });

    test('at the same moment as its owner uses the successor, on another replica: one of the two goes on, never both', async () => {
      const stolen: Array<{ session: string; owners: string; thiefs: string }> = [];
      for (let i = 0; i < 20; i++) {
        const { refreshToken: thiefs, session } = await person(`bo.${i}`);
        stolen.push({ session, thiefs, owners: (await refresh(thiefs)).refreshToken });
        await pass(session, REUSE_GRACE_SECONDS + 1);
      }
      const results = await Promise.all(
        stolen.map(({ owners, thiefs }, i) =>
          Promise.all([outcome(refresh(owners, i % 2)), outcome(refresh(thiefs, (i + 1) % 2))]),
        ),
      );
      for (const [i, { session }] of stolen.entries()) {
        const refused = results[i]!.filter((result) => typeof result === 'string');
        expect(refused.length).toBeGreaterThanOrEqual(1);
        for (const reason of refused) expect(reason).toMatch(/^login\.(refresh_raced|refresh_reused|session_ended) /);
        const good = await sql<{ n: number }>(
          'SELECT count(*)::int AS n FROM refresh_tokens WHERE session_id = $1 AND used_at IS NULL AND retired_at IS NULL',
          [session],
        );
        expect(good[0]!.n).toBeLessThanOrEqual(1);
      }
    });
  });

  test('of calls with one refresh token at once, on two replicas, exactly one wins, and the others learn that they may try again', async () => {
    let { refreshToken } = await person('cyd');
    for (let round = 0; round < 5; round++) {
      const results = await Promise.all(Array.from({ length: 8 }, (_, i) => outcome(refresh(refreshToken, i % 2))));
      const won = results.filter((result) => typeof result !== 'string');
      expect(won).toHaveLength(1);
      expect(results.filter((result) => result === 'login.refresh_raced ABORTED')).toHaveLength(7);
      ({ refreshToken } = won[0]!);
    }
    const logins = await Promise.all([0, 1].map((at) => outcome(login(byRefreshToken(refreshToken), at))));
    expect(logins.filter((result) => typeof result !== 'string')).toHaveLength(1);
    expect(logins).toContain('login.refresh_raced ABORTED');
  });

  test('a login that fails uses no refresh token up', async () => {
    const { refreshToken, user } = await person('dan');
    const good = enclaves.get(user)!;
    enclaves.set(user, { ...good, endpoint: 'http://127.0.0.1:1' });
    expect(await outcome(login(byRefreshToken(refreshToken)))).toBe('login.enclave_unavailable UNAVAILABLE');
    enclaves.set(user, good);
    await login(byRefreshToken(refreshToken));
  });

  test('a refresh token used as access token, and an access token used as refresh token, are refused', async () => {
    const { accessToken, refreshToken } = await person('eve');
    expect(await outcome(login(byToken(refreshToken)))).toBe('login.token_invalid UNAUTHENTICATED');
    expect(await outcome(list(refreshToken))).toBe('login.token_invalid UNAUTHENTICATED');
    for (const token of [accessToken, '', 'x', `slsr_${randomBytes(32).toString('base64url')}`, `${refreshToken}=`]) {
      expect(await outcome(login(byRefreshToken(token)))).toBe('login.refresh_invalid UNAUTHENTICATED');
      expect(await outcome(refresh(token))).toBe('login.refresh_invalid UNAUTHENTICATED');
    }
    const call = (metadata: Metadata): Promise<unknown> =>
      callUnary(replicas[0].account, replicas[0].account.listSessions, {}, { ...TIMEOUT, metadata });
    expect(await outcome(call(new Metadata()))).toBe('login.token_missing UNAUTHENTICATED');
    await refresh(refreshToken);
  });

  test('only the SHA-256 of refresh tokens is stored', async () => {
    const { refreshToken, session } = await person('fay');
    const rows = await sql<{ sha256: Buffer }>('SELECT * FROM refresh_tokens WHERE session_id = $1', [session]);
    expect(rows).toHaveLength(1);
    expect(JSON.stringify(rows)).not.toContain(refreshToken.slice(5));
    expect(rows[0]!.sha256).toHaveLength(32);
  });

  test('a session ends when nobody used it for 30 days, and after 90 in any case', async () => {
    const idle = await person('gus');
    await sql(`UPDATE sessions SET last_used_at = now() - interval '${SESSION_IDLE_DAYS} days' WHERE id = $1`, [
      idle.session,
    ]);
    expect(await outcome(refresh(idle.refreshToken))).toBe('login.session_ended UNAUTHENTICATED');
    const old = await person('hal');
    await sql(`UPDATE sessions SET expires_at = expires_at - interval '${SESSION_DAYS} days' WHERE id = $1`, [
      old.session,
    ]);
    expect(await outcome(refresh(old.refreshToken))).toBe('login.session_ended UNAUTHENTICATED');
    const late = await person('hel');
    await sql(`UPDATE sessions SET expires_at = now() + interval '1 hour' WHERE id = $1`, [late.session]);
    expect(Number((await refresh(late.refreshToken)).refreshTokenExpiresAt)).toBeLessThan(Date.now() / 1000 + 3601);
  });

  test('logging out ends the session, --all every one of the user, and nobody else', async () => {
    const laptop = await person('ian');
    const desk = (await login(byPassword('ian', password))).result;
    const phone = (await login(byPassword('ian', password), 1)).result;
    const other = await person('ivy');
    const logOut = (refreshToken: string, all: boolean): Promise<{ ended: number }> =>
      callUnary(replicas[1].account, replicas[1].account.logOut, { refreshToken, all }, TIMEOUT);
    expect(await logOut(laptop.refreshToken, false)).toEqual({ ended: 1 });
    expect(await outcome(refresh(laptop.refreshToken))).toBe('login.session_ended UNAUTHENTICATED');
    expect((await list(desk.accessToken)).sessions).toHaveLength(2);
    expect(await logOut(desk.refreshToken, true)).toEqual({ ended: 2 });
    for (const { refreshToken } of [desk, phone])
      expect(await outcome(refresh(refreshToken))).toBe('login.session_ended UNAUTHENTICATED');
    await refresh(other.refreshToken);
  });

  test('anyone ends sessions of their own, seen in a list, and never those of others', async () => {
    const mine = await person('joe');
    const lost = (await login(byPassword('joe', password))).result;
    const theirs = await person('jan');
    const end = (session: string): Promise<unknown> =>
      callUnary(
        replicas[0].account,
        replicas[0].account.revokeSession,
        { session },
        { ...TIMEOUT, metadata: bearer(mine.accessToken) },
      );
    const { sessions } = await list(mine.accessToken);
    expect(sessions.map(({ current }) => current).sort()).toEqual([false, true]);
    await end(sessions.find(({ current }) => !current)!.session);
    expect(await outcome(refresh(lost.refreshToken))).toBe('login.session_ended UNAUTHENTICATED');
    for (const session of [theirs.session, await sessionOf(lost.accessToken), randomUUID(), '', "x' OR true"]) {
      expect(await outcome(end(session))).toBe('session.not_found NOT_FOUND');
    }
    await refresh(theirs.refreshToken);
  });

  test('a user has 50 sessions at most: one more ends the one that was unused the longest, however many begin at once', async () => {
    const { user, session, accessToken } = await person('jil');
    const other = await person('jon');
    const began = [session];
    for (let i = 1; i < MAX_SESSIONS; i++) began.push((await beginSession(replicas[0].backend, user)).session);
    for (const [i, id] of began.entries())
      await sql(`UPDATE sessions SET last_used_at = now() - make_interval(mins => $2::int) WHERE id = $1`, [
        id,
        String(100 - i),
      ]);
    // The first was used again: the second is the oldest now.
    const own = await login(byToken(accessToken));
    const added = await Promise.all([0, 1, 0, 1].map((at) => beginSession(replicas[at]!.backend, user)));
    const { sessions } = await list(own.result.accessToken);
    expect(sessions.map((entry) => entry.session).sort()).toEqual(
      [session, ...began.slice(5), ...added.map((tokens) => tokens.session)].sort(),
    );
    await refresh(other.refreshToken);
    const records = (await recordsOf(replicas[0].backend.database)).filter(
      ({ detail }) => detail['because'] === 'too_many',
    );
    expect(records.map(({ detail }) => detail['session']).sort()).toEqual(began.slice(1, 5).sort());
  });

  test('a session that was ended stands in the revocation list while a certificate of it may be good', async () => {
    const { refreshToken, accessToken } = await person('kay');
    const unused = await person('kim');
    await login(byRefreshToken(refreshToken));
    const session = await sessionOf(accessToken);
    const { sessions, database } = replicas[0].backend;
    await sessions.revoke(
      (await verifyAccessToken(replicas[0].backend.tokenKeys, accessToken, trust)).user,
      {},
      'logout',
    );
    await sessions.revoke(unused.user, {}, 'logout');
    expect((await currentlyRevoked(database)).sessions).toContain(session);
    expect((await currentlyRevoked(database)).sessions).not.toContain(unused.session);
    await sql(`UPDATE sessions SET certified_until = now() WHERE id = $1`, [session]);
    expect((await currentlyRevoked(database)).sessions).not.toContain(session);
  });

  test('a user whom the operator revoked refreshes no session', async () => {
    const { refreshToken, user } = await person('lea');
    await revoke(replicas[0].backend.database, { kind: 'user', subject: user, revokedBy: 'test', reason: 'test' });
    expect(await outcome(refresh(refreshToken))).toBe('login.revoked UNAUTHENTICATED');
  });

  describe('a password change', () => {
    const change = (token: string, oldPassword: string, newPassword: string): Promise<ChangePasswordResponse> =>
      callUnary(
        replicas[1].account,
        replicas[1].account.changePassword,
        { oldPassword, newPassword, oneTimeCode: '', unlinkIdentities: false },
        { ...TIMEOUT, metadata: bearer(token) },
      );
    const age = (session: string): Promise<unknown> =>
      sql(`UPDATE sessions SET authenticated_at = now() - interval '1 hour' WHERE id = $1`, [session]);

    test('needs the old password, ends all other sessions, and leaves this one', async () => {
      const mine = await person('max');
      const other = (await login(byPassword('max', password))).result;
      await age(mine.session);
      const own = await refresh(mine.refreshToken);
      for (const wrong of ['', 'wrong password'])
        expect(await outcome(change(own.accessToken, wrong, 'another good one'))).toBe(
          'login.wrong_credentials UNAUTHENTICATED',
        );
      expect(await outcome(change(own.accessToken, password, 'short'))).toBe(
        'signup.password_too_short INVALID_ARGUMENT',
      );
      const changed = await change(own.accessToken, password, 'another good one');
      expect(changed.ended).toBe(1);
      expect(await outcome(refresh(other.refreshToken))).toBe('login.session_ended UNAUTHENTICATED');
      expect(await sessionOf((await refresh(changed.refreshToken)).accessToken)).toBe(mine.session);
      expect(await outcome(login(byPassword('max', password)))).toBe('login.wrong_credentials UNAUTHENTICATED');
      await login(byPassword('max', 'another good one'));
    });

    test('needs the old password right after a login, too: a stolen access token does not take the account for good', async () => {
      await person('mia');
      const { result } = await login(byPassword('mia', password));
      expect(await outcome(change(result.accessToken, '', 'another good one'))).toBe(
        'login.wrong_credentials UNAUTHENTICATED',
      );
      await login(byPassword('mia', password));
    });

    test('gives new tokens for its session, and those of before are worth nothing', async () => {
      const { accessToken, session } = await person('mio');
      const changed = await change(accessToken, password, 'another good one');
      expect(await sessionOf(changed.accessToken)).toBe(session);
      const list = (token: string): Promise<unknown> =>
        outcome(
          callUnary(replicas[0].account, replicas[0].account.listSessions, {}, { ...TIMEOUT, metadata: bearer(token) }),
        );
      expect(await list(accessToken)).toBe('login.token_invalid UNAUTHENTICATED');
      expect(await list(changed.accessToken)).toMatchObject({ sessions: [{ session, current: true }] });
      expect(await list((await refresh(changed.refreshToken)).accessToken)).toMatchObject({ sessions: [{ session }] });
    });

    test("leaves whoever has a copy of this session's refresh token with nothing, used or not", async () => {
      for (const used of [false, true]) {
        const { refreshToken, accessToken, session } = await person(used ? 'wilma.used' : 'wilma');
        const stolen = used ? (await refresh(refreshToken)).refreshToken : refreshToken;
        await pass(session, REUSE_GRACE_SECONDS + 1);
        const changed = await change(accessToken, password, 'another good one');
        if (!used) expect(await sessionOf((await refresh(changed.refreshToken)).accessToken)).toBe(session);
        expect(await outcome(refresh(stolen))).toBe('login.refresh_reused UNAUTHENTICATED');
      }
    });

    test('is none by a session that ends meanwhile', async () => {
      const { accessToken, session, user } = await person('pat');
      const { database } = replicas[0].backend;
      let late: Promise<unknown> = Promise.resolve();
      await database.transaction(async (queries) => {
        await queries.query('SELECT id FROM accounts WHERE id = $1 FOR UPDATE', [user]);
        late = outcome(change(accessToken, password, 'another good one'));
        // Until it has been authenticated, and waits for the account. Embedded, it is authenticated after this transaction.
        if (open !== startEmbeddedTestPostgres) await untilBlocking(queries, late);
        await revokeSessions(queries, user, { session }, 'user');
      });
      expect(await late).toBe('login.session_ended UNAUTHENTICATED');
      await login(byPassword('pat', password));
    });

    test('ends a login by the old password that is under way', async () => {
      const { accessToken } = await person('ned');
      let began!: () => void;
      let goOn!: () => void;
      const under = new Promise<void>((resolve) => (began = resolve));
      launched = () => {
        began();
        return new Promise((resolve) => (goOn = resolve));
      };
      const late = outcome(login(byPassword('ned', password)));
      await under;
      await change(accessToken, password, 'another good one');
      goOn();
      launched = () => Promise.resolve();
      expect(await late).toBe('login.session_ended UNAUTHENTICATED');
    });

    test('is none where a login hashes the password anew, because the cost setting was changed: sessions and logins under way go on', async () => {
      const { user, refreshToken } = await person('ora');
      const stored = async (): Promise<string> => (await replicas[0].backend.accounts.findById(user))!.passwordHash!;
      expect(await stored()).toContain('$2b$04$');
      const costly = await Promise.all([5, 5].map((cost) => startReplica(files, clientCa, enclaveOf, { cost })));
      stops.push(...costly.map((replica) => () => replica.stop()));
      let goOn!: () => void;
      let waiting = 0;
      const both = new Promise<void>((resolve) => (goOn = resolve));
      launched = () => {
        if (++waiting === 2) goOn();
        return both;
      };
      const logins = await Promise.all(
        costly.map((replica) => outcome(logIn(replica.login, loginRequest(key, byPassword('ora', password))))),
      );
      launched = () => Promise.resolve();
      expect(logins.filter((result) => typeof result === 'string')).toEqual([]);
      const hash = await stored();
      expect(hash).toContain('$2b$05$');
      await refresh(refreshToken);
      expect(await outcome(logIn(costly[0]!.login, loginRequest(key, byPassword('ora', 'wrong password'))))).toBe(
        'login.wrong_credentials UNAUTHENTICATED',
      );
      await logIn(costly[0]!.login, loginRequest(key, byPassword('ora', password)));
      expect(await stored()).toBe(hash);
    });

    test('at once on two replicas happens once', async () => {
      const { accessToken } = await person('oda');
      const results = await Promise.all(
        ['one good password', 'two good password'].map((next) => outcome(change(accessToken, password, next))),
      );
      expect(results.filter((result) => typeof result !== 'string').length).toBe(1);
    });
  });
}

describe('on the embedded PostgreSQL', () => contract(startEmbeddedTestPostgres));

(noPostgres === undefined ? describe : describe.skip)('on a PostgreSQL server', () => contract(migratedDatabase));
