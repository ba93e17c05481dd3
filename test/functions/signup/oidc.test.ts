import { Metadata, status } from '@grpc/grpc-js';
import { createAuthority } from '../../../licensing/authority/authority';
import { revoke } from '../../../licensing/revocation/store';
import { callUnary } from '../../../runtime/rpc/client';
import type { RpcError } from '../../../runtime/rpc/errors';
import { verifyAccessToken } from '../../../licensing/tokens/access-token';
import { finishDeletions } from '../../../functions/login/deletion';
import type { ExchangeIdTokenResponse, RefreshResponse } from '../../../proto/gen/licensing/v1/account';
import { TRUST_DOMAIN, UNLIMITED, writeAccountFiles } from '../../support/accounts';
import type { AccountFiles } from '../../support/accounts';
import { Authenticator } from '../../support/authenticator';
import { recordsOf } from '../../support/audit';
import { MovedClock } from '../../support/clock';
import { eventually } from '../../support/eventually';
import { startEmbeddedTestPostgres } from '../../support/embedded-postgres';
import { startEnclaveEndpoint } from '../../support/enclave-endpoint';
import { byPassword, byRefreshToken, logIn, loginRequest, newClientKey } from '../../support/login-client';
import { OpenIdProvider } from '../../support/openid-provider';
import { migratedDatabase, noPostgres } from '../../support/postgres';
import { startReplica } from '../../support/replica';
import type { Replica } from '../../support/replica';

if (noPostgres !== undefined) console.warn(noPostgres);

const TIMEOUT = { timeout: 120_000 };
const INVALID = 'oidc.token_invalid UNAUTHENTICATED';
const USED = 'oidc.token_used UNAUTHENTICATED';

function outcome<T>(call: Promise<T>): Promise<T | string> {
  return call.catch((error: RpcError) => `${error.code} ${status[error.grpcStatus]}`);
}

function withToken(token: string): { timeout: number; metadata: Metadata } {
  const metadata = new Metadata();
  metadata.set('authorization', `Bearer ${token}`);
  return { ...TIMEOUT, metadata };
}

interface Exchange {
  at?: Replica;
  username?: string;
  code?: string;
}

function contract(open: () => Promise<{ url: string; stop(): Promise<void> }>): void {
  let server: { url: string; stop(): Promise<void> };
  let files: AccountFiles;
  let provider: OpenIdProvider;
  /** Two that are alike, and one on which a first login makes no account. */
  let replicas: [Replica, Replica, Replica];
  const stops: Array<() => Promise<void>> = [];

  beforeAll(async () => {
    [server, provider] = await Promise.all([open(), OpenIdProvider.start()]);
    files = await writeAccountFiles(server.url);
    const clientCa = await createAuthority({ commonName: 'client CA', trustDomain: TRUST_DOMAIN, years: 1 });
    const enclaveOf = async (user: string) => {
      const endpoint = await startEnclaveEndpoint({ user, clientCa: clientCa.certificate });
      stops.push(() => endpoint.stop());
      return endpoint.location;
    };
    const oidc = {
      issuer: provider.issuer,
      clientId: provider.clientId,
      publicClientSecret: undefined,
      scopes: ['openid'],
      signup: true,
    };
    const start = (signup: boolean) => startReplica(files, clientCa, enclaveOf, { oidc: { ...oidc, signup } });
    replicas = await Promise.all([start(true), start(true), start(false)]);
  });
  afterAll(async () => {
    await Promise.all([...replicas.map((replica) => replica.stop()), ...stops.map((stop) => stop())]);
    await Promise.all([files.remove(), server.stop(), provider.goDown()]);
  });

  const exchange = (
    idToken: string,
    { at = replicas[0], username = '', code = '' }: Exchange = {},
  ): Promise<ExchangeIdTokenResponse> =>
    callUnary(
      at.account,
      at.account.exchangeIdToken,
      { idToken, username, oneTimeCode: code, clientName: 'laptop' },
      TIMEOUT,
    );
  /** By a token that is as the provider makes them. */
  const logInAs = async (subject: string, options?: Exchange): Promise<ExchangeIdTokenResponse> =>
    exchange(await provider.sign(provider.claims(subject)), options);
  const userOf = async ({ accessToken }: { accessToken: string }): Promise<string> =>
    (await verifyAccessToken(replicas[0].backend.tokenKeys, accessToken, { trustDomain: TRUST_DOMAIN })).user;
  const database = () => replicas[0].backend.database;
  /** As minutes later: the session began by a login a while ago. */
  const aged = async (tokens: ExchangeIdTokenResponse): Promise<RefreshResponse> => {
    await database().query(`UPDATE sessions SET authenticated_at = now() - interval '10 minutes' WHERE user_id = $1`, [
      await userOf(tokens),
    ]);
    return callUnary(
      replicas[1].account,
      replicas[1].account.refresh,
      { refreshToken: tokens.refreshToken, clientName: '' },
      TIMEOUT,
    );
  };

  describe('a token of the provider', () => {
    test('makes an account at the first login, and finds it at the next, on whichever replica', async () => {
      const first = await exchange(await provider.idToken('ada@provider'), { username: 'Ada' });
      expect(first).toMatchObject({ username: 'ada', created: true });
      const second = await exchange(await provider.idToken('ada@provider'), { at: replicas[1] });
      expect(second).toMatchObject({ username: 'ada', created: false });
      expect(await userOf(second)).toBe(await userOf(first));
      const sessions = await callUnary(
        replicas[0].account,
        replicas[0].account.listSessions,
        {},
        withToken(second.accessToken),
      );
      expect(sessions.sessions.map(({ clientName }) => clientName)).toEqual(['laptop', 'laptop']);
      const account = await callUnary(
        replicas[0].account,
        replicas[0].account.getAccount,
        {},
        withToken(second.accessToken),
      );
      expect(account).toEqual({
        user: await userOf(first),
        username: 'ada',
        hasPassword: false,
        oidcIssuer: provider.issuer,
      });
    });

    test('begins a session that enclaves are started by, and that goes on like any other', async () => {
      const { refreshToken } = await logInAs('bea');
      const { result } = await logIn(
        replicas[1].login,
        loginRequest(await newClientKey(), byRefreshToken(refreshToken)),
      );
      expect(result.refreshToken).toMatch(/^slsr_/);
    });

    test('names nobody by what else it says: neither a name nor an address in it makes or finds an account', async () => {
      const owner = await callUnary(
        replicas[0].account,
        replicas[0].account.signUp,
        { username: 'root', password: 'correct horse battery', clientName: '' },
        TIMEOUT,
      );
      const claims = { preferred_username: 'root', email: 'root@example.com', email_verified: true, name: 'root' };
      const { username, accessToken } = await exchange(
        await provider.sign({ ...provider.claims('mallory'), ...claims }),
      );
      expect(username).toMatch(/^user-[a-z2-7]{10}$/);
      expect(await userOf({ accessToken })).not.toBe(await userOf(owner));
      expect((await exchange(await provider.idToken('mallory', 'openid profile email'))).username).toBe(username);
    });

    test('is good for one session: shown again, at the same time, or with its signature written otherwise, it is refused', async () => {
      const token = await provider.idToken('cyd');
      await exchange(token);
      expect(await outcome(exchange(token))).toBe(USED);
      expect(await outcome(exchange(token, { at: replicas[1] }))).toBe(USED);
      const raced = await provider.idToken('cyd');
      const results = await Promise.all(
        [0, 1, 0, 1, 0, 1].map((at) => outcome(exchange(raced, { at: replicas[at]! }))),
      );
      expect(results.filter((result) => result === USED)).toHaveLength(5);
      // ECDSA: with (r, s), (r, n - s) is right too.
      const signed = await provider.sign(provider.claims('cyd'), { key: provider.keys.ES256 });
      await exchange(signed);
      const n = 0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551n;
      const [header, payload, signature = ''] = signed.split('.');
      const bytes = Buffer.from(signature, 'base64url');
      const s = (n - BigInt(`0x${bytes.subarray(32).toString('hex')}`)).toString(16).padStart(64, '0');
      const other = [
        header,
        payload,
        Buffer.concat([bytes.subarray(0, 32), Buffer.from(s, 'hex')]).toString('base64url'),
      ].join('.');
      expect(other).not.toBe(signed);
      expect(await outcome(exchange(other))).toBe(USED);
    });

    test('of six first logins of one person at once one makes the account, and all get into it', async () => {
      for (const username of ['', 'dot']) {
        const subject = `dot-${username}`;
        const tokens = await Promise.all(Array.from({ length: 6 }, () => provider.sign(provider.claims(subject))));
        const results = await Promise.all(
          tokens.map((token, index) => exchange(token, { at: replicas[index % 2]!, username })),
        );
        expect(results.filter(({ created }) => created)).toHaveLength(1);
        expect(new Set(await Promise.all(results.map(userOf))).size).toBe(1);
      }
    });

    test('of a name that is taken makes no account, and can be shown again with another one', async () => {
      await logInAs('eve', { username: 'eve' });
      const token = await provider.sign(provider.claims('eva'));
      expect(await outcome(exchange(token, { username: 'eve' }))).toBe('signup.username_taken ALREADY_EXISTS');
      expect(await outcome(exchange(token, { username: 'e v e' }))).toBe('signup.username_invalid INVALID_ARGUMENT');
      expect(await exchange(token, { username: 'eva' })).toMatchObject({ username: 'eva', created: true });
      // Whose account is called otherwise is told so.
      expect(await outcome(logInAs('eva', { username: 'eve' }))).toBe('oidc.other_username FAILED_PRECONDITION');
      expect(await logInAs('eva', { username: 'EVA' })).toMatchObject({ username: 'eva' });
    });

    test('of somebody who has no account is refused where first logins make none; who has one gets in', async () => {
      const closed = replicas[2];
      const token = await provider.idToken('fay');
      expect(await outcome(exchange(token, { at: closed }))).toBe('oidc.unknown_user PERMISSION_DENIED');
      await exchange(token);
      expect(await logInAs('fay', { at: closed })).toMatchObject({ created: false });
    });
  });

  describe('refused is', () => {
    const forged: Array<[string, (subject: string) => Promise<string>]> = [
      [
        'another issuer',
        (subject) => provider.sign({ ...provider.claims(subject), iss: 'https://accounts.example.com' }),
      ],
      [
        'the issuer with a slash',
        (subject) => provider.sign({ ...provider.claims(subject), iss: `${provider.issuer}/` }),
      ],
      ['another audience', (subject) => provider.sign({ ...provider.claims(subject), aud: 'another' })],
      [
        'one of several audiences',
        (subject) => provider.sign({ ...provider.claims(subject), aud: [provider.clientId, 'another'] }),
      ],
      [
        "another client's token that names this one as well",
        (subject) =>
          provider.sign({ ...provider.claims(subject), aud: [provider.clientId, 'another'], azp: 'another' }),
      ],
      [
        'an expired one',
        (subject) => provider.sign({ ...provider.claims(subject), exp: Math.floor(Date.now() / 1000) - 120 }),
      ],
      ['one without an end', async (subject) => provider.sign({ ...provider.claims(subject), exp: undefined })],
      [
        'an old one',
        (subject) => provider.sign({ ...provider.claims(subject), iat: Math.floor(Date.now() / 1000) - 400 }),
      ],
      [
        'one of the future',
        (subject) => provider.sign({ ...provider.claims(subject), iat: Math.floor(Date.now() / 1000) + 120 }),
      ],
      [
        'one that is not valid yet',
        (subject) => provider.sign({ ...provider.claims(subject), nbf: Math.floor(Date.now() / 1000) + 120 }),
      ],
      [
        'another key under the same name',
        (subject) => provider.sign(provider.claims(subject), { key: provider.foreignKey() }),
      ],
      [
        'a key that brings itself along',
        (subject) =>
          provider.sign(provider.claims(subject), {
            key: provider.foreignKey(),
            header: { kid: 'mine', jwk: provider.publicKey(provider.foreignKey()) },
          }),
      ],
      ['alg none', (subject) => provider.unsigned(provider.claims(subject))],
      ['HS256 by the public key', (subject) => provider.signedByPublicKey(provider.claims(subject))],
      [
        'an access token that says so',
        (subject) => provider.sign(provider.claims(subject), { header: { typ: 'at+jwt' } }),
      ],
      [
        'a logout token',
        (subject) =>
          provider.sign({
            ...provider.claims(subject),
            events: { 'http://schemas.openid.net/event/backchannel-logout': {} },
          }),
      ],
      ['nobody', () => provider.sign({ ...provider.claims('x'), sub: undefined })],
      ['a subject that is none', () => provider.sign(provider.claims('a'.repeat(256)))],
      [
        'a changed payload',
        async (subject) =>
          provider.withPayload(await provider.sign(provider.claims('somebody')), provider.claims(subject)),
      ],
      ['rubbish', () => Promise.resolve('rubbish')],
      ['nothing', () => Promise.resolve('')],
    ];

    test.each(forged)('%s', async (_name, make) => {
      await logInAs('victim');
      const before = await database().query('SELECT 1 FROM sessions');
      expect(await outcome(make('victim').then((token) => exchange(token)))).toBe(INVALID);
      expect(await database().query('SELECT 1 FROM sessions')).toHaveLength(before.length);
    });

    test('a token that is too large, however large', async () => {
      for (const length of [17_000, 30_000])
        expect(await outcome(exchange(`${await provider.sign(provider.claims('victim'))}${'A'.repeat(length)}`))).toBe(
          INVALID,
        );
      expect(await outcome(exchange('A'.repeat(40_000)))).toBe('rpc.too_large RESOURCE_EXHAUSTED');
    });

    test('a user who was revoked, and let in again where that is taken back', async () => {
      const user = await userOf(await logInAs('gus'));
      await revoke(database(), { kind: 'user', subject: user, revokedBy: 'test', reason: 'test' });
      const token = await provider.idToken('gus');
      expect(await outcome(exchange(token))).toBe('login.revoked UNAUTHENTICATED');
      await database().query(`DELETE FROM revocations WHERE subject = $1`, [user]);
      expect(await exchange(token)).toMatchObject({ created: false });
    });

    test('what nobody can check, because the provider is down or does not answer: unavailable after five seconds, and not counted', async () => {
      const away = await OpenIdProvider.start();
      const clock = new MovedClock();
      const limits = { ...UNLIMITED, LOGIN_FAILURES_PER_ADDRESS: 3 };
      const oidc = {
        issuer: away.issuer,
        clientId: away.clientId,
        publicClientSecret: undefined,
        scopes: ['openid'],
        signup: true,
      };
      const at = await startReplica(
        files,
        await createAuthority({ commonName: 'client CA', trustDomain: TRUST_DOMAIN, years: 1 }),
        () => Promise.reject(new Error('no enclave')),
        { oidc, limits, clock },
      );
      stops.push(
        () => at.stop(),
        () => away.goDown(),
      );
      const token = await away.sign(away.claims('ada'));
      const goOn = away.hang();
      const asked = Promise.all([token, token, token].map((each) => outcome(exchange(each, { at }))));
      await eventually(() => away.unanswered > 0);
      clock.advance(5_000);
      expect(await asked).toEqual(Array(3).fill('oidc.provider_unavailable UNAVAILABLE'));
      await away.goDown();
      clock.advance(2_000);
      expect(await outcome(exchange(token, { at }))).toBe('oidc.provider_unavailable UNAVAILABLE');
      clock.advance(2_000);
      goOn();
      await away.goUp();
      expect(await exchange(token, { at })).toMatchObject({ created: true });
      await database().query('DELETE FROM limits');
    });

    test('every login by OIDC where it is off', async () => {
      const replica = await startReplica(
        files,
        await createAuthority({ commonName: 'client CA', trustDomain: TRUST_DOMAIN, years: 1 }),
        () => Promise.reject(new Error('no enclave')),
      );
      stops.push(() => replica.stop());
      expect(await outcome(logInAs('ada@provider', { at: replica }))).toBe('oidc.off FAILED_PRECONDITION');
      expect(await callUnary(replica.account, replica.account.getOidcSettings, {}, TIMEOUT)).toEqual({
        issuer: '',
        clientId: '',
        publicClientSecret: '',
        scopes: [],
      });
    });
  });

  test('clients are told whom to ask, and for what', async () => {
    const settings = await callUnary(replicas[0].account, replicas[0].account.getOidcSettings, {}, TIMEOUT);
    expect(settings).toEqual({
      issuer: provider.issuer,
      clientId: provider.clientId,
      publicClientSecret: '',
      scopes: ['openid'],
    });
  });

  test('a second factor is asked for; until it was shown the token is not used up', async () => {
    const hal = await logInAs('hal');
    const { secret } = await callUnary(
      replicas[0].account,
      replicas[0].account.beginSecondFactor,
      { password: '', refreshToken: hal.refreshToken },
      withToken(hal.accessToken),
    );
    const authenticator = new Authenticator(secret);
    await callUnary(
      replicas[0].account,
      replicas[0].account.confirmSecondFactor,
      { oneTimeCode: authenticator.code() },
      withToken(hal.accessToken),
    );
    await database().query('UPDATE second_factors SET last_step = 0');
    const token = await provider.idToken('hal');
    expect(await outcome(exchange(token))).toBe('login.second_factor_required UNAUTHENTICATED');
    expect(await outcome(exchange(token, { code: authenticator.wrong() }))).toBe(
      'login.second_factor_wrong UNAUTHENTICATED',
    );
    expect(await exchange(token, { code: authenticator.code() })).toMatchObject({ username: hal.username });
    expect(await outcome(exchange(token, { code: authenticator.code(1) }))).toBe(USED);
  });

  describe('an account without a password', () => {
    test('is nobody to whoever shows one, and gets none', async () => {
      const { accessToken } = await logInAs('ida', { username: 'ida' });
      for (const password of ['', 'null', 'undefined', 'correct horse battery']) {
        expect(
          await outcome(logIn(replicas[0].login, loginRequest(await newClientKey(), byPassword('ida', password)))),
        ).toBe('login.wrong_credentials UNAUTHENTICATED');
      }
      for (const oldPassword of ['', 'null']) {
        const request = { oldPassword, newPassword: 'correct horse battery', oneTimeCode: '', unlinkIdentities: false };
        expect(
          await outcome(
            callUnary(replicas[0].account, replicas[0].account.changePassword, request, withToken(accessToken)),
          ),
        ).toBe('account.no_password FAILED_PRECONDITION');
      }
    });

    test('is deleted, and gets a second factor, by a login of the last minutes alone, shown by its refresh token', async () => {
      const jan = await logInAs('jan');
      const user = await userOf(jan);
      const old = await aged(jan);
      type Tokens = Pick<ExchangeIdTokenResponse, 'accessToken' | 'refreshToken'>;
      const remove = ({ accessToken, refreshToken }: Tokens) =>
        outcome(
          callUnary(
            replicas[0].deletion,
            replicas[0].deletion.deleteAccount,
            { password: '', oneTimeCode: '', refreshToken },
            withToken(accessToken),
          ),
        );
      const begin = ({ accessToken, refreshToken }: Tokens) =>
        outcome(
          callUnary(
            replicas[0].account,
            replicas[0].account.beginSecondFactor,
            { password: '', refreshToken },
            withToken(accessToken),
          ),
        );
      const fresh = await logInAs('jan');
      const stranger = await logInAs('stranger');
      for (const attempt of [
        old,
        // A stolen access token, however lately its session began; alone, with another session's token, with somebody else's.
        { accessToken: fresh.accessToken, refreshToken: '' },
        { accessToken: fresh.accessToken, refreshToken: old.refreshToken },
        { accessToken: fresh.accessToken, refreshToken: stranger.refreshToken },
      ]) {
        expect(await remove(attempt)).toBe('account.login_not_fresh UNAUTHENTICATED');
        expect(await begin(attempt)).toBe('account.login_not_fresh UNAUTHENTICATED');
      }
      expect(await begin(fresh)).toMatchObject({ secret: expect.any(String) as string });
      const unused = await provider.sign(provider.claims('jan'));
      expect(await remove(fresh)).toEqual({ enclavesRemoved: true });
      await finishDeletions(database(), replicas[0].enclaves, replicas[0].launcher);
      for (const table of ['oidc_identities', 'sessions'])
        expect(await database().query(`SELECT 1 FROM ${table} WHERE user_id = $1`, [user])).toEqual([]);
      // What the provider says of somebody whose account is gone opens none; where first logins make one, it is another.
      expect(await outcome(exchange(unused, { at: replicas[2] }))).toBe('oidc.unknown_user PERMISSION_DENIED');
      expect(await userOf(await exchange(unused))).not.toBe(user);
    });
  });

  describe('an account with a password', () => {
    const password = 'correct horse battery';
    const signUp = async (username: string): Promise<{ accessToken: string; user: string }> => {
      const { accessToken } = await callUnary(
        replicas[0].account,
        replicas[0].account.signUp,
        { username, password, clientName: '' },
        TIMEOUT,
      );
      return { accessToken, user: await userOf({ accessToken }) };
    };
    const link = (accessToken: string, idToken: string, { secret = password, code = '', at = replicas[0] } = {}) =>
      outcome(
        callUnary(
          at.account,
          at.account.linkIdentity,
          { idToken, password: secret, oneTimeCode: code },
          withToken(accessToken),
        ),
      );
    const unlink = (accessToken: string, secret = password) =>
      outcome(
        callUnary(
          replicas[0].account,
          replicas[0].account.unlinkIdentity,
          { password: secret, oneTimeCode: '' },
          withToken(accessToken),
        ),
      );

    test('can be bound to who its user is to the provider, by the password, and unbound again', async () => {
      const { accessToken, user } = await signUp('nia');
      const token = await provider.idToken('nia@provider');
      expect(await link(accessToken, token, { secret: 'wrong horse battery' })).toBe(
        'login.wrong_credentials UNAUTHENTICATED',
      );
      expect(await link(accessToken, token, { secret: '' })).toBe('login.wrong_credentials UNAUTHENTICATED');
      expect(await link(accessToken, 'rubbish')).toBe(INVALID);
      expect(await link(accessToken, token)).toEqual({ oidcIssuer: provider.issuer });
      // Used up by it.
      expect(await outcome(exchange(token))).toBe(USED);
      const login = await logInAs('nia@provider', { at: replicas[2] });
      expect(login).toMatchObject({ username: 'nia', created: false });
      expect(await userOf(login)).toBe(user);
      expect(
        await logIn(replicas[0].login, loginRequest(await newClientKey(), byPassword('nia', password))),
      ).toBeDefined();
      expect(await unlink(accessToken, 'wrong horse battery')).toBe('login.wrong_credentials UNAUTHENTICATED');
      expect(await unlink(accessToken)).toEqual({});
      expect(await unlink(accessToken)).toBe('oidc.not_bound FAILED_PRECONDITION');
      expect(await outcome(logInAs('nia@provider', { at: replicas[2] }))).toBe('oidc.unknown_user PERMISSION_DENIED');
    });

    test('is told at a password change who can still log in without the password, and unlinks them in the same go', async () => {
      const { accessToken } = await signUp('nis');
      expect(await link(accessToken, await provider.sign(provider.claims('thief')))).toEqual({
        oidcIssuer: provider.issuer,
      });
      const change = (by: string, oldPassword: string, newPassword: string, unlinkIdentities: boolean) =>
        callUnary(
          replicas[0].account,
          replicas[0].account.changePassword,
          { oldPassword, newPassword, oneTimeCode: '', unlinkIdentities },
          withToken(by),
        );
      const linked = { issuer: provider.issuer, linkedAt: expect.any(BigInt) as bigint };
      const kept = await change(accessToken, password, 'another horse battery', false);
      expect(kept).toMatchObject({ linked: [linked], unlinked: [] });
      expect(await logInAs('thief', { at: replicas[2] })).toMatchObject({ username: 'nis' });
      const cleared = await change(kept.accessToken, 'another horse battery', 'a third horse battery', true);
      expect(cleared).toMatchObject({ linked: [], unlinked: [linked], ended: 1 });
      expect(await outcome(logInAs('thief', { at: replicas[2] }))).toBe('oidc.unknown_user PERMISSION_DENIED');
    });

    test('is bound to one, and nobody to two accounts, however many ask at once', async () => {
      const people = await Promise.all(['oda', 'odb', 'odc', 'odd'].map(signUp));
      const tokens = await Promise.all(people.map(() => provider.sign(provider.claims('od@provider'))));
      const results = await Promise.all(
        people.map(({ accessToken }, index) => link(accessToken, tokens[index]!, { at: replicas[index % 2]! })),
      );
      expect(results.filter((result) => result === 'oidc.already_bound ALREADY_EXISTS')).toHaveLength(3);
      const winner = people[results.findIndex((result) => typeof result === 'object')]!;
      expect(await link(winner.accessToken, await provider.sign(provider.claims('another@provider')))).toBe(
        'oidc.already_bound ALREADY_EXISTS',
      );
      expect(await userOf(await logInAs('od@provider'))).toBe(winner.user);
    });

    test('has its second factor asked for as well', async () => {
      const { accessToken } = await signUp('pia');
      const { secret } = await callUnary(
        replicas[0].account,
        replicas[0].account.beginSecondFactor,
        { password, refreshToken: '' },
        withToken(accessToken),
      );
      const authenticator = new Authenticator(secret);
      const { recoveryCodes } = await callUnary(
        replicas[0].account,
        replicas[0].account.confirmSecondFactor,
        { oneTimeCode: authenticator.code() },
        withToken(accessToken),
      );
      const token = await provider.sign(provider.claims('pia@provider'));
      expect(await link(accessToken, token)).toBe('login.second_factor_required UNAUTHENTICATED');
      expect(await link(accessToken, token, { code: authenticator.wrong() })).toBe(
        'login.second_factor_wrong UNAUTHENTICATED',
      );
      expect(await link(accessToken, token, { code: recoveryCodes[0]! })).toEqual({ oidcIssuer: provider.issuer });
      expect(await unlink(accessToken)).toBe('login.second_factor_required UNAUTHENTICATED');
    });

    test('is the only kind that is unbound: without a password nobody could log in', async () => {
      const { accessToken } = await logInAs('quin@provider');
      expect(await unlink(accessToken, '')).toBe('account.no_password FAILED_PRECONDITION');
    });
  });

  test('a used token that is shown again gives its address no more tries', async () => {
    const limits = { ...UNLIMITED, LOGIN_FAILURES_PER_ADDRESS: 3 };
    const oidc = {
      issuer: provider.issuer,
      clientId: provider.clientId,
      publicClientSecret: undefined,
      scopes: ['openid'],
      signup: true,
    };
    const at = await startReplica(
      files,
      await createAuthority({ commonName: 'client CA', trustDomain: TRUST_DOMAIN, years: 1 }),
      () => Promise.reject(new Error('no enclave')),
      { oidc, limits },
    );
    stops.push(() => at.stop());
    await database().query('DELETE FROM limits');
    const token = await provider.sign(provider.claims('ray'));
    await exchange(token, { at });
    for (let index = 0; index < 3; index += 1) {
      expect(await outcome(exchange('rubbish', { at }))).toBe(INVALID);
      if (index < 2) expect(await outcome(exchange(token, { at }))).toBe(USED);
    }
    expect(await outcome(exchange('rubbish', { at }))).toBe('login.limited RESOURCE_EXHAUSTED');
    await database().query('DELETE FROM limits');
  });

  test('refusals of who is known by then are counted by the user, those of others by nobody', async () => {
    const user = await userOf(await logInAs('lee', { username: 'lee' }));
    expect(await outcome(logInAs('lee', { username: 'mia' }))).toBe('oidc.other_username FAILED_PRECONDITION');
    expect(await outcome(exchange('rubbish'))).toBe('oidc.token_invalid UNAUTHENTICATED');
    await replicas[0].backend.refusals.flush();
    const counted = await database().query<{ reason: string; user_id: string }>(
      'SELECT DISTINCT reason, user_id FROM audit_refusals',
    );
    expect(counted).toContainEqual({ reason: 'oidc.other_username', user_id: user });
    expect(counted).toContainEqual({ reason: 'oidc.token_invalid', user_id: '' });
  });

  test('the audit says that an account was made by the word of a provider, by ids alone', async () => {
    const { username, accessToken } = await logInAs('kim@example.com');
    const user = await userOf({ accessToken });
    const all = await recordsOf(database());
    const records = all.filter(({ detail }) => detail['user'] === user).map(({ kind, detail }) => ({ kind, detail }));
    expect(records).toEqual([{ kind: 'account.created', detail: { user, issuer: provider.issuer } }]);
    expect(JSON.stringify(records)).not.toMatch(new RegExp(`kim|${username}`));
  });

  test('used tokens are forgotten once their time is over', async () => {
    await logInAs('lou');
    await database().query(`UPDATE used_id_tokens SET expires_at = now() - interval '1 second'`);
    await logInAs('lou');
    expect(await database().query('SELECT 1 FROM used_id_tokens')).toHaveLength(1);
  });

  test('tokens that are refused, and first logins, are counted for their address', async () => {
    const limits = { ...UNLIMITED, LOGIN_FAILURES_PER_ADDRESS: 3, SIGNUPS_PER_ADDRESS: 2 };
    const clientCa = await createAuthority({ commonName: 'client CA', trustDomain: TRUST_DOMAIN, years: 1 });
    const oidc = {
      issuer: provider.issuer,
      clientId: provider.clientId,
      publicClientSecret: undefined,
      scopes: ['openid'],
      signup: true,
    };
    const at = await startReplica(files, clientCa, () => Promise.reject(new Error('no enclave')), { oidc, limits });
    stops.push(() => at.stop());
    for (const subject of ['lim-1', 'lim-2']) await logInAs(subject, { at });
    expect(await outcome(logInAs('lim-3', { at }))).toBe('login.limited RESOURCE_EXHAUSTED');
    for (let index = 0; index < 5; index += 1) await logInAs('lim-1', { at });
    for (let index = 0; index < 3; index += 1) expect(await outcome(exchange('rubbish', { at }))).toBe(INVALID);
    expect(await outcome(logInAs('lim-1', { at }))).toBe('login.limited RESOURCE_EXHAUSTED');
    await database().query('DELETE FROM limits');
  });
}

describe('logins by OIDC, on the embedded database', () => contract(startEmbeddedTestPostgres));
(noPostgres === undefined ? describe : describe.skip)('logins by OIDC, on a PostgreSQL server', () =>
  contract(migratedDatabase),
);
