import { writeFile } from 'node:fs/promises';
import { Metadata, status } from '@grpc/grpc-js';
import { createAuthority } from '../../../licensing/authority/authority';
import { callUnary } from '../../../runtime/rpc/client';
import type { RpcError } from '../../../runtime/rpc/errors';
import { generateSecondFactorKeys } from '../../../licensing/second-factor/keys';
import { verifyAccessToken } from '../../../licensing/tokens/access-token';
import type { Enclave } from '../../../functions/login/launcher/launcher';
import type {
  BeginSecondFactorResponse,
  ConfirmSecondFactorResponse,
  GetSecondFactorResponse,
  SignUpResponse,
} from '../../../proto/gen/licensing/v1/account';
import { recordsOf } from '../../support/audit';
import { TRUST_DOMAIN, UNLIMITED, writeAccountFiles } from '../../support/accounts';
import type { AccountFiles } from '../../support/accounts';
import { Authenticator } from '../../support/authenticator';
import { startEmbeddedTestPostgres } from '../../support/embedded-postgres';
import { startEnclaveEndpoint } from '../../support/enclave-endpoint';
import { byPassword, byRefreshToken, byToken, logIn, loginRequest, newClientKey } from '../../support/login-client';
import type { ClientKey } from '../../support/login-client';
import { migratedDatabase, noPostgres, untilBlocking } from '../../support/postgres';
import { systemClock } from '../../../runtime/clock';
import type { Clock } from '../../../runtime/clock';
import { startReplica } from '../../support/replica';
import type { Replica } from '../../support/replica';
import type { CertifiedKey } from '../../../runtime/keys/key-pair';

if (noPostgres !== undefined) console.warn(noPostgres);

const password = 'correct horse battery';
const TRIES = 4;
const REQUIRED = 'login.second_factor_required UNAUTHENTICATED';
const WRONG_CODE = 'login.second_factor_wrong UNAUTHENTICATED';
const WRONG_PASSWORD = 'login.wrong_credentials UNAUTHENTICATED';
const LIMITED = 'login.limited RESOURCE_EXHAUSTED';
const TIMEOUT = { timeout: 120_000 };

function outcome<T>(call: Promise<T>): Promise<T | string> {
  return call.catch((error: RpcError) => `${error.code} ${status[error.grpcStatus]}`);
}

interface Person extends SignUpResponse {
  username: string;
  user: string;
}

function contract(open: () => Promise<{ url: string; stop(): Promise<void> }>): void {
  let server: { url: string; stop(): Promise<void> };
  let files: AccountFiles;
  let clientCa: CertifiedKey;
  let key: ClientKey;
  let replicas: Replica[];
  /** Set by tests of codes around the present one, for which time stands. */
  let time: number | undefined;
  const clock: Clock = { ...systemClock, now: () => time ?? Date.now() };
  const enclaves = new Map<string, Enclave>();
  const stops: Array<() => Promise<void>> = [];
  const enclaveOf = (user: string): Promise<Enclave> => Promise.resolve(enclaves.get(user) as Enclave);

  beforeAll(async () => {
    server = await open();
    files = await writeAccountFiles(server.url);
    clientCa = await createAuthority({ commonName: 'client CA', trustDomain: TRUST_DOMAIN, years: 1 });
    key = await newClientKey();
    const limits = { ...UNLIMITED, LOGIN_FAILURES_PER_ACCOUNT: TRIES };
    replicas = await Promise.all([0, 1].map(() => startReplica(files, clientCa, enclaveOf, { limits, clock })));
  });
  afterAll(async () => {
    await Promise.all([...replicas.map((replica) => replica.stop()), ...stops.map((stop) => stop())]);
    await files.remove();
    await server.stop();
  });

  afterEach(() => (time = undefined));

  const withToken = (token: string): { timeout: number; metadata: Metadata } => {
    const metadata = new Metadata();
    metadata.set('authorization', `Bearer ${token}`);
    return { ...TIMEOUT, metadata };
  };
  const begin = ({ accessToken }: SignUpResponse, secret = password): Promise<BeginSecondFactorResponse> =>
    callUnary(
      replicas[0]!.account,
      replicas[0]!.account.beginSecondFactor,
      { password: secret, refreshToken: '' },
      withToken(accessToken),
    );
  const confirm = (
    { accessToken }: SignUpResponse,
    oneTimeCode: string,
    at = 0,
  ): Promise<ConfirmSecondFactorResponse> =>
    callUnary(
      replicas[at]!.account,
      replicas[at]!.account.confirmSecondFactor,
      { oneTimeCode },
      withToken(accessToken),
    );
  const state = ({ accessToken }: SignUpResponse): Promise<GetSecondFactorResponse> =>
    callUnary(replicas[1]!.account, replicas[1]!.account.getSecondFactor, {}, withToken(accessToken));
  const disable = ({ accessToken }: SignUpResponse, oneTimeCode: string, secret = password): Promise<object> =>
    callUnary(
      replicas[0]!.account,
      replicas[0]!.account.disableSecondFactor,
      { password: secret, oneTimeCode, refreshToken: '' },
      withToken(accessToken),
    );
  const renewCodes = (
    { accessToken }: SignUpResponse,
    oneTimeCode: string,
    secret = password,
  ): Promise<ConfirmSecondFactorResponse> =>
    callUnary(
      replicas[1]!.account,
      replicas[1]!.account.renewRecoveryCodes,
      { password: secret, oneTimeCode, refreshToken: '' },
      withToken(accessToken),
    );
  const login = (username: string, code = '', { at = 0, secret = password, known = '' } = {}): Promise<string> =>
    logIn(replicas[at]!.login, loginRequest(key, byPassword(username, secret, known), '', code)).then(
      () => 'logged in',
      (error: RpcError) => `${error.code} ${status[error.grpcStatus]}`,
    );

  async function person(username: string): Promise<Person> {
    const tokens = await callUnary(
      replicas[0]!.account,
      replicas[0]!.account.signUp,
      { username, password, clientName: '' },
      TIMEOUT,
    );
    const { user } = await verifyAccessToken(replicas[0]!.backend.tokenKeys, tokens.accessToken, {
      trustDomain: TRUST_DOMAIN,
    });
    const endpoint = await startEnclaveEndpoint({ user, clientCa: clientCa.certificate });
    stops.push(() => endpoint.stop());
    enclaves.set(user, endpoint.location);
    return { ...tokens, user, username };
  }

  /** As minutes later: no code is used yet that could be shown now. */
  const forget = ({ user }: Person): Promise<unknown> =>
    replicas[0]!.backend.database.query('UPDATE second_factors SET last_step = 0 WHERE user_id = $1', [user]);

  async function enrolled(
    username: string,
  ): Promise<Person & { authenticator: Authenticator; recoveryCodes: string[] }> {
    const tokens = await person(username);
    const authenticator = new Authenticator((await begin(tokens)).secret, clock);
    const { recoveryCodes } = await confirm(tokens, authenticator.code());
    await forget(tokens);
    return { ...tokens, authenticator, recoveryCodes };
  }

  test('from its confirmation on, a login by password takes a code; before it, nothing has changed', async () => {
    const ada = await person('ada');
    expect(await state(ada)).toEqual({ enabled: false, enabledAt: 0n, recoveryCodes: 0 });
    const { uri, secret } = await begin(ada);
    expect(uri).toBe(`otpauth://totp/${TRUST_DOMAIN}:ada?secret=${secret}&issuer=${TRUST_DOMAIN}`);
    const authenticator = new Authenticator(secret);
    expect(await outcome(confirm(ada, authenticator.wrong()))).toBe(WRONG_CODE);
    expect(await login('ada')).toBe('logged in');
    expect((await state(ada)).enabled).toBe(false);
    expect((await confirm(ada, authenticator.code(), 1)).recoveryCodes).toHaveLength(10);
    expect(await state(ada)).toMatchObject({ enabled: true, recoveryCodes: 10 });
    expect(await login('ada')).toBe(REQUIRED);
    expect(await login('ada', authenticator.wrong())).toBe(WRONG_CODE);
    // It confirmed; a code is good once.
    expect(await login('ada', authenticator.code(), { at: 1 })).toBe(WRONG_CODE);
    await forget(ada);
    expect(await login('ada', ` ${authenticator.code().replace(/(...)/, '$1 ')} `, { at: 1 })).toBe('logged in');
  });

  test('one that is being enabled at this moment is neither disabled nor given other recovery codes by who has the password alone', async () => {
    for (const [name, attack] of [
      ['amy', disable],
      ['abe', renewCodes],
    ] as const) {
      const victim = await person(name);
      await begin(victim);
      let late: Promise<unknown> = Promise.resolve();
      await replicas[1]!.backend.database.transaction(async (queries) => {
        // As confirming does, in its transaction.
        await queries.query('UPDATE second_factors SET enabled_at = now(), last_step = 0 WHERE user_id = $1', [
          victim.user,
        ]);
        late = outcome(attack(victim, ''));
        // Until it has seen that there is none, and waits for the row where it does. Embedded, it looks after this transaction.
        if (open !== startEmbeddedTestPostgres) await untilBlocking(queries, late);
      });
      expect([REQUIRED, 'account.second_factor_disabled FAILED_PRECONDITION']).toContain(await late);
      expect(await state(victim)).toMatchObject({ enabled: true, recoveryCodes: 0 });
    }
  });

  test('whether a user has a second factor is learnt after the right password alone', async () => {
    const { authenticator, username } = await enrolled('bea');
    await person('ben');
    for (const code of ['', authenticator.code(), authenticator.wrong(), 'x'.repeat(10_000)]) {
      for (const name of [username, 'ben', 'nobody'])
        expect(await login(name, code, { secret: 'wrong password' })).toBe(WRONG_PASSWORD);
      await replicas[0]!.backend.database.query('DELETE FROM limits');
    }
    // Who has none may send what they like.
    expect(await login('ben', '123456')).toBe('logged in');
    expect(await login(username, authenticator.code())).toBe('logged in');
  });

  test('a code works once, on whichever of two replicas, however many show it at once', async () => {
    const { authenticator, username } = await enrolled('cyd');
    time = Date.now();
    for (const steps of [-1, 0, 1]) {
      const code = authenticator.code(steps);
      const results = await Promise.all([0, 1, 0, 1].map((at) => login(username, code, { at })));
      expect(results.sort()).toEqual(['logged in', WRONG_CODE, WRONG_CODE, WRONG_CODE]);
      await replicas[0]!.backend.database.query('DELETE FROM limits');
    }
    // All that were before the newest that was used are over.
    for (const steps of [-1, 0, 1]) expect(await login(username, authenticator.code(steps))).toBe(WRONG_CODE);
  });

  test('codes of two half minutes ago or ahead are wrong', async () => {
    const { authenticator, username } = await enrolled('dan');
    for (const steps of [-3, 3]) expect(await login(username, authenticator.code(steps))).toBe(WRONG_CODE);
  });

  test('a recovery code is good once in place of a code, on two replicas at once; the others stay', async () => {
    const { recoveryCodes, username, ...tokens } = await enrolled('eve');
    const [first, second] = recoveryCodes as [string, string];
    const results = await Promise.all([0, 1].map((at) => login(username, first, { at })));
    expect(results.sort()).toEqual(['logged in', WRONG_CODE]);
    expect(await login(username, second.toUpperCase().replaceAll('-', ' '))).toBe('logged in');
    expect((await state(tokens)).recoveryCodes).toBe(8);
    const other = await enrolled('eva');
    expect(await login(username, other.recoveryCodes[0])).toBe(WRONG_CODE);
    const records = (await recordsOf(replicas[0]!.backend.database)).filter(
      ({ detail }) => detail['user'] === tokens.user,
    );
    const used = ['account.recovery_code_used', 'login.granted'];
    expect(records.map(({ kind }) => kind)).toEqual([
      'account.created',
      'account.second_factor_enabled',
      ...used,
      ...used,
    ]);
  });

  test('new recovery codes take both factors, and end the old ones', async () => {
    const ida = await enrolled('ida');
    expect(await outcome(renewCodes(ida, ida.authenticator.code(), 'wrong password'))).toBe(WRONG_PASSWORD);
    expect(await outcome(renewCodes(ida, ''))).toBe(REQUIRED);
    const { recoveryCodes } = await renewCodes(ida, ida.authenticator.code());
    expect(recoveryCodes.filter((code) => ida.recoveryCodes.includes(code))).toEqual([]);
    expect(await login('ida', ida.recoveryCodes[0])).toBe(WRONG_CODE);
    expect(await login('ida', recoveryCodes[0])).toBe('logged in');
  });

  test('a session that is known goes on without a code: access token and refresh token', async () => {
    const { accessToken, refreshToken } = await enrolled('fay');
    await logIn(replicas[0]!.login, loginRequest(key, byToken(accessToken)));
    await logIn(replicas[1]!.login, loginRequest(key, byRefreshToken(refreshToken)));
  });

  test('a password change takes a code beside the old password, also right after a login', async () => {
    const gus = await enrolled('gus');
    const change = (oneTimeCode: string, oldPassword = password): Promise<object> =>
      callUnary(
        replicas[0]!.account,
        replicas[0]!.account.changePassword,
        { oldPassword, newPassword: 'another good one', oneTimeCode, unlinkIdentities: false },
        withToken(gus.accessToken),
      );
    expect(await outcome(change(''))).toBe(REQUIRED);
    expect(await outcome(change(gus.authenticator.wrong()))).toBe(WRONG_CODE);
    expect(await outcome(change(gus.authenticator.code(), ''))).toBe(WRONG_PASSWORD);
    expect(await change(gus.authenticator.code())).toMatchObject({ ended: 0 });
    expect(await login('gus', gus.authenticator.code(1), { secret: 'another good one' })).toBe('logged in');
  });

  test('it is disabled by both factors, and by nothing less; the password is enough then', async () => {
    const hal = await enrolled('hal');
    expect(await outcome(disable(hal, hal.authenticator.code(), 'wrong password'))).toBe(WRONG_PASSWORD);
    expect(await outcome(disable(hal, ''))).toBe(REQUIRED);
    expect(await outcome(disable(hal, hal.authenticator.wrong()))).toBe(WRONG_CODE);
    expect(await login('hal')).toBe(REQUIRED);
    // Who lost the authenticator has recovery codes.
    await disable(hal, hal.recoveryCodes[3]!);
    expect(await login('hal')).toBe('logged in');
    expect(await outcome(renewCodes(hal, ''))).toBe('account.second_factor_disabled FAILED_PRECONDITION');
    expect(await state(hal)).toMatchObject({ enabled: false, recoveryCodes: 0 });
  });

  test("enrolling takes the password, replaces nobody's factor, and is confirmed once and in time", async () => {
    const ian = await person('ian');
    expect(await outcome(begin(ian, 'wrong password'))).toBe(WRONG_PASSWORD);
    expect(await outcome(confirm(ian, '123456'))).toBe('account.second_factor_not_begun FAILED_PRECONDITION');
    const first = new Authenticator((await begin(ian)).secret);
    const second = new Authenticator((await begin(ian)).secret);
    expect(await outcome(confirm(ian, first.code()))).toBe(WRONG_CODE);
    const { database } = replicas[0]!.backend;
    await database.query(`UPDATE second_factors SET begun_at = now() - interval '10 minutes' WHERE user_id = $1`, [
      ian.user,
    ]);
    expect(await outcome(confirm(ian, second.code()))).toBe('account.second_factor_not_begun FAILED_PRECONDITION');
    const third = new Authenticator((await begin(ian)).secret);
    const results = await Promise.all([0, 1].map((at) => outcome(confirm(ian, third.code(), at))));
    expect(results.filter((result) => typeof result !== 'string')).toHaveLength(1);
    expect(await outcome(begin(ian))).toBe('account.second_factor_enabled FAILED_PRECONDITION');
    for (const call of [begin, state, confirm])
      expect(await outcome<unknown>(call({ ...ian, accessToken: 'x' }, password))).toBe(
        'login.token_invalid UNAUTHENTICATED',
      );
  });

  test('wrong codes are limited for the account, from wherever; a known session and a recovery code get in all the same', async () => {
    const { authenticator, username, recoveryCodes, refreshToken } = await enrolled('joe');
    const results = await Promise.all(
      Array.from({ length: TRIES + 4 }, (_, i) => login(username, authenticator.wrong(), { at: i % 2 })),
    );
    expect(results.filter((result) => result === WRONG_CODE)).toHaveLength(TRIES);
    expect(results.filter((result) => result === LIMITED)).toHaveLength(4);
    // Not even the right one is looked at.
    expect(await login(username, authenticator.code())).toBe(LIMITED);
    expect(await login(username, recoveryCodes[0])).toBe('logged in');
    expect(await login(username, authenticator.code(), { known: refreshToken })).toBe('logged in');
  });

  test('wrong codes are limited for a day as well, however slowly they come', async () => {
    const { authenticator, username } = await enrolled('jim');
    const { database } = replicas[0]!.backend;
    for (let i = 0; i < TRIES * 5; i++) {
      expect(await login(username, authenticator.wrong())).toBe(WRONG_CODE);
      // As five minutes later.
      await database.query(`UPDATE limits SET level = 0 WHERE key LIKE 'code:%'`);
    }
    expect(await login(username, authenticator.wrong())).toBe(LIMITED);
  });

  test('right codes are not counted', async () => {
    const kim = await enrolled('kim');
    for (let i = 0; i < TRIES + 2; i++) {
      await forget(kim);
      expect(await login('kim', kim.authenticator.code())).toBe('logged in');
    }
  });

  test('neither secrets nor recovery codes stand in the database', async () => {
    const lea = await person('lea');
    const { secret } = await begin(lea);
    const { recoveryCodes } = await confirm(lea, new Authenticator(secret).code());
    const { database } = replicas[0]!.backend;
    const rows = JSON.stringify(
      await Promise.all(
        ['second_factors', 'recovery_codes', 'audit'].map((table) =>
          database.query(`SELECT t::text AS row FROM ${table} t`),
        ),
      ),
    );
    const bytes = secret
      .match(/.{8}/g)!
      .map((part) =>
        [...part]
          .map((letter) => 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567'.indexOf(letter).toString(2).padStart(5, '0'))
          .join(''),
      )
      .join('')
      .match(/.{8}/g)!;
    const raw = Buffer.from(bytes.map((byte) => Number.parseInt(byte, 2)));
    for (const text of [
      secret,
      raw.toString('hex'),
      raw.toString('base64'),
      ...recoveryCodes,
      ...recoveryCodes.map((code) => code.replaceAll('-', '')),
    ])
      expect(rows).not.toContain(text);
  });

  test('a secret that was moved to another user in the database opens nothing', async () => {
    const [max, mia] = [await enrolled('max'), await enrolled('mia')];
    await replicas[0]!.backend.database.query(
      'UPDATE second_factors SET secret = (SELECT secret FROM second_factors WHERE user_id = $1) WHERE user_id = $2',
      [max.user, mia.user],
    );
    expect(await login('mia', max.authenticator.code())).toBe('account.second_factor_unavailable UNAVAILABLE');
    expect(await login('mia', mia.recoveryCodes[0])).toBe('logged in');
  });

  test('without its key an installation lets nobody enrol, and nobody who is enrolled in by the password alone', async () => {
    const ned = await enrolled('ned');
    const file = files.settings.SECOND_FACTOR_KEYS_FILE;
    await writeFile(`${file}.other`, generateSecondFactorKeys());
    const other = await startReplica(
      { ...files, settings: { ...files.settings, SECOND_FACTOR_KEYS_FILE: `${file}.other` } },
      clientCa,
      enclaveOf,
    );
    stops.push(() => other.stop());
    const by = (code: string): Promise<unknown> =>
      outcome(logIn(other.login, loginRequest(key, byPassword('ned', password), '', code)));
    expect(await by('')).toBe(REQUIRED);
    expect(await by(ned.authenticator.code())).toBe('account.second_factor_unavailable UNAVAILABLE');
    const without = await startReplica(
      { ...files, settings: { ...files.settings, SECOND_FACTOR_KEYS_FILE: undefined } as never },
      clientCa,
      enclaveOf,
    );
    stops.push(() => without.stop());
    expect(
      await outcome(logIn(without.login, loginRequest(key, byPassword('ned', password), '', ned.authenticator.code()))),
    ).toBe('account.second_factor_unavailable UNAVAILABLE');
    const ora = await person('ora');
    expect(
      await outcome(
        callUnary(
          without.account,
          without.account.beginSecondFactor,
          { password, refreshToken: '' },
          withToken(ora.accessToken),
        ),
      ),
    ).toBe('account.second_factor_unavailable UNAVAILABLE');
  });

  test('it goes with its account', async () => {
    const pat = await enrolled('pat');
    const { database } = replicas[0]!.backend;
    await database.query('DELETE FROM accounts WHERE id = $1', [pat.user]);
    for (const table of ['second_factors', 'recovery_codes'])
      expect(await database.query(`SELECT 1 AS there FROM ${table} WHERE user_id = $1`, [pat.user])).toEqual([]);
  });
}

describe('on the embedded PostgreSQL', () => contract(startEmbeddedTestPostgres));

(noPostgres === undefined ? describe : describe.skip)('on a PostgreSQL server', () => contract(migratedDatabase));
