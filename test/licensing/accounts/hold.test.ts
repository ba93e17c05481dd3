import type { Enclave } from '../../../functions/login/launcher/launcher';
import { createAuthority } from '../../../licensing/authority/authority';
import { revoke } from '../../../licensing/revocation/store';
import { removeSecondFactor } from '../../../licensing/second-factor/second-factors';
import { revokeSessions } from '../../../licensing/sessions/sessions';
import { openDatabase } from '../../../licensing/store/database';
import type { Database } from '../../../licensing/store/database';
import type { Queries } from '../../../licensing/store/queries';
import { verifyAccessToken } from '../../../licensing/tokens/access-token';
import { callUnary } from '../../../runtime/rpc/client';
import type { RpcError } from '../../../runtime/rpc/errors';
import type { CertifiedKey } from '../../../runtime/keys/key-pair';
import { TRUST_DOMAIN, writeAccountFiles } from '../../support/accounts';
import type { AccountFiles } from '../../support/accounts';
import { Authenticator } from '../../support/authenticator';
import { startEnclaveEndpoint } from '../../support/enclave-endpoint';
import { eventually } from '../../support/eventually';
import { byPassword, logIn, loginRequest, newClientKey } from '../../support/login-client';
import { OpenIdProvider } from '../../support/openid-provider';
import { migratedDatabase, noPostgres } from '../../support/postgres';
import type { TestDatabase } from '../../support/postgres';
import { startReplica } from '../../support/replica';
import type { Replica } from '../../support/replica';
import { bearer } from '../../support/seats';

if (noPostgres) console.warn(noPostgres);

const PASSWORD = 'correct horse battery';
const NEW_PASSWORD = 'another horse battery';

/** What a call acts by may be changed between its look at it and its act: here always, by a change that holds the account while the call comes to it. */
(noPostgres ? describe.skip : describe)('an account that changes under a call', () => {
  let postgres: TestDatabase;
  let files: AccountFiles;
  let clientCa: CertifiedKey;
  let provider: OpenIdProvider;
  let replica: Replica;
  let database: Database;
  let launching: () => Promise<Enclave> = () => Promise.reject(new Error('no enclave'));

  beforeAll(async () => {
    postgres = await migratedDatabase();
    files = await writeAccountFiles(postgres.url);
    clientCa = await createAuthority({ commonName: 'client CA', trustDomain: TRUST_DOMAIN, years: 1 });
    provider = await OpenIdProvider.start();
    database = openDatabase(postgres.url, { poolSize: 3 });
    const oidc = {
      issuer: provider.issuer,
      clientId: provider.clientId,
      publicClientSecret: undefined,
      scopes: ['openid'],
      signup: true,
    };
    replica = await startReplica(files, clientCa, () => launching(), { oidc });
  });
  afterAll(async () => {
    await Promise.all([replica.stop(), database.close(), provider.goDown()]);
    await files.remove();
    await postgres.stop();
  });

  interface Person {
    username: string;
    user: string;
    session: string;
    accessToken: string;
    authenticator: Authenticator;
    recoveryCodes: string[];
  }

  const TIMEOUT = { timeout: 120_000 };
  const outcome = (call: Promise<unknown>): Promise<string> =>
    call.then(
      () => 'done',
      (error: RpcError) => error.code,
    );
  let people = 0;

  /** With a second factor, and linked to the provider unless told otherwise. */
  async function newPerson({ linked = true, enrolled = true } = {}): Promise<Person> {
    const username = `person${(people += 1)}`;
    const { account, backend } = replica;
    const request = { username, password: PASSWORD, clientName: '' };
    const { accessToken } = await callUnary(account, account.signUp, request, TIMEOUT);
    const { user, session } = await verifyAccessToken(backend.tokenKeys, accessToken, { trustDomain: TRUST_DOMAIN });
    const call = bearer({ accessToken });
    if (linked) {
      const idToken = await provider.sign(provider.claims(username));
      await callUnary(account, account.linkIdentity, { password: PASSWORD, oneTimeCode: '', idToken }, call);
    }
    const begun = { password: PASSWORD, refreshToken: '' };
    const authenticator = new Authenticator((await callUnary(account, account.beginSecondFactor, begun, call)).secret);
    const { recoveryCodes } = enrolled
      ? await callUnary(account, account.confirmSecondFactor, { oneTimeCode: authenticator.code() }, call)
      : { recoveryCodes: [] };
    return { username, user, session, accessToken, authenticator, recoveryCodes };
  }

  /** Everything that begins with a look at an account and ends with an act on it; and what such a person is like. */
  const ACTS: Record<
    string,
    { act(person: Person): Promise<unknown>; person?: { linked?: boolean; enrolled?: boolean } }
  > = {
    'linking an identity': {
      person: { linked: false },
      act: async ({ username, accessToken, recoveryCodes }) =>
        callUnary(
          replica.account,
          replica.account.linkIdentity,
          {
            password: PASSWORD,
            oneTimeCode: recoveryCodes[0]!,
            idToken: await provider.sign(provider.claims(`thief of ${username}`)),
          },
          bearer({ accessToken }),
        ),
    },
    'unlinking it': {
      act: ({ accessToken, recoveryCodes }) =>
        callUnary(
          replica.account,
          replica.account.unlinkIdentity,
          { password: PASSWORD, oneTimeCode: recoveryCodes[0]! },
          bearer({ accessToken }),
        ),
    },
    'turning off the second factor': {
      act: ({ accessToken, recoveryCodes }) =>
        callUnary(
          replica.account,
          replica.account.disableSecondFactor,
          { password: PASSWORD, oneTimeCode: recoveryCodes[0]!, refreshToken: '' },
          bearer({ accessToken }),
        ),
    },
    'renewing recovery codes': {
      act: ({ accessToken, recoveryCodes }) =>
        callUnary(
          replica.account,
          replica.account.renewRecoveryCodes,
          { password: PASSWORD, oneTimeCode: recoveryCodes[0]!, refreshToken: '' },
          bearer({ accessToken }),
        ),
    },
    'changing the password': {
      act: ({ accessToken, recoveryCodes }) =>
        callUnary(
          replica.account,
          replica.account.changePassword,
          {
            oldPassword: PASSWORD,
            newPassword: "the thief's own password",
            oneTimeCode: recoveryCodes[0]!,
            unlinkIdentities: false,
          },
          bearer({ accessToken }),
        ),
    },
    'deleting the account': {
      act: ({ accessToken, recoveryCodes }) =>
        callUnary(
          replica.deletion,
          replica.deletion.deleteAccount,
          { password: PASSWORD, oneTimeCode: recoveryCodes[0]!, refreshToken: '' },
          bearer({ accessToken }),
        ),
    },
    'setting up a second factor': {
      person: { enrolled: false },
      act: ({ accessToken }) =>
        callUnary(
          replica.account,
          replica.account.beginSecondFactor,
          { password: PASSWORD, refreshToken: '' },
          bearer({ accessToken }),
        ),
    },
    'confirming it': {
      person: { enrolled: false },
      act: ({ accessToken, authenticator }) =>
        callUnary(
          replica.account,
          replica.account.confirmSecondFactor,
          { oneTimeCode: authenticator.code() },
          bearer({ accessToken }),
        ),
    },
    'a login by the provider': {
      act: async ({ username, recoveryCodes }) =>
        callUnary(
          replica.account,
          replica.account.exchangeIdToken,
          {
            idToken: await provider.sign(provider.claims(username)),
            username: '',
            oneTimeCode: recoveryCodes[0]!,
            clientName: '',
          },
          TIMEOUT,
        ),
    },
  };

  const CHANGES: Record<string, (queries: Queries, person: Person) => Promise<unknown>> = {
    'a new password': async (queries, { user }) =>
      queries.query('UPDATE accounts SET password_hash = $2 WHERE id = $1', [
        user,
        await replica.backend.hasher.hash(NEW_PASSWORD),
      ]),
    'the end of the session': (queries, { user, session }) => revokeSessions(queries, user, { session }, 'user'),
    'newer tokens of the session': (queries, { session }) =>
      queries.query('UPDATE sessions SET generation = generation + 1 WHERE id = $1', [session]),
    'a revocation': (queries, { user }) =>
      revoke(queries, { kind: 'user', subject: user, revokedBy: 'ada', reason: 'test' }),
    'the removal of the second factor': (queries, { user }) => removeSecondFactor(queries, user),
    'another second factor': (queries, { user }) =>
      queries.query('UPDATE second_factors SET enabled_at = clock_timestamp() WHERE user_id = $1', [user]),
    deletion: (queries, { user }) => queries.query('DELETE FROM accounts WHERE id = $1', [user]),
  };

  const PASSWORD_RACED = 'account.password_raced';
  const FACTOR_RACED = 'account.second_factor_raced';
  const ENDED = 'login.session_ended';
  const REVOKED = 'login.revoked';

  /** Of each act and each change that it must not outlive. */
  const REFUSALS: Array<[act: string, change: string, refusal: string]> = [
    ...[
      'linking an identity',
      'unlinking it',
      'turning off the second factor',
      'renewing recovery codes',
      'changing the password',
      'deleting the account',
    ].flatMap((act): Array<[string, string, string]> => [
      [act, 'a new password', PASSWORD_RACED],
      [act, 'the end of the session', ENDED],
      [act, 'newer tokens of the session', ENDED],
      [act, 'a revocation', REVOKED],
      [act, 'the removal of the second factor', FACTOR_RACED],
      [act, 'another second factor', FACTOR_RACED],
      // Of two deletions at once both are told that it is done.
      ...(act === 'deleting the account' ? [] : [[act, 'deletion', ENDED] as [string, string, string]]),
    ]),
    ['setting up a second factor', 'a new password', PASSWORD_RACED],
    ['setting up a second factor', 'the end of the session', ENDED],
    ['setting up a second factor', 'a revocation', REVOKED],
    ['confirming it', 'the end of the session', ENDED],
    ['confirming it', 'newer tokens of the session', ENDED],
    ['confirming it', 'a revocation', REVOKED],
    ['a login by the provider', 'a revocation', REVOKED],
    ['a login by the provider', 'the removal of the second factor', FACTOR_RACED],
    ['a login by the provider', 'another second factor', FACTOR_RACED],
  ];

  /** Begins what a person asks for, has it come as far as the account's row, and changes the account before it gets that. */
  async function raced(
    act: () => Promise<unknown>,
    { user }: Person,
    change: (queries: Queries) => Promise<unknown>,
  ): Promise<string> {
    let late: Promise<string> = Promise.resolve('not called');
    await database.transaction(async (queries) => {
      await queries.query('SELECT id FROM accounts WHERE id = $1 FOR UPDATE', [user]);
      let ended = false;
      late = outcome(act()).finally(() => (ended = true));
      await eventually(async () => {
        const waiting = await database.query(
          `SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`,
        );
        // One that comes to its end meanwhile holds nothing.
        return waiting.length > 0 || ended;
      });
      await change(queries);
    });
    return late;
  }

  /** Ways into the account, and what guards them. */
  async function waysInto(queries: Queries, { user }: Person): Promise<unknown> {
    const rows = [];
    for (const text of [
      'SELECT password_hash FROM accounts WHERE id = $1',
      'SELECT subject FROM oidc_identities WHERE user_id = $1',
      'SELECT id, revoked_at FROM sessions WHERE user_id = $1',
      'SELECT sha256 FROM recovery_codes WHERE user_id = $1 ORDER BY sha256',
      'SELECT secret, enabled_at IS NULL AS pending FROM second_factors WHERE user_id = $1',
    ])
      rows.push(await queries.query(text, [user]));
    return rows;
  }

  test.each(REFUSALS)('%s does not outlive %s: %s', async (act, change, refusal) => {
    const { act: begin, person: like } = ACTS[act]!;
    const person = await newPerson(like);
    let changed: unknown;
    const refused = await raced(
      () => begin(person),
      person,
      async (queries) => {
        await CHANGES[change]!(queries, person);
        changed = await waysInto(queries, person);
      },
    );
    expect(refused).toBe(refusal);
    expect(await waysInto(database, person)).toEqual(changed);
  });

  test.each(Object.keys(ACTS))('%s goes on where nothing has changed', async (act) => {
    const { act: begin, person: like } = ACTS[act]!;
    const person = await newPerson(like);
    expect(
      await raced(
        () => begin(person),
        person,
        () => Promise.resolve(),
      ),
    ).toBe('done');
  });

  test('a login by password that waits for its enclave does not outlive a second factor that is set up meanwhile, nor a revocation', async () => {
    const { account } = replica;
    for (const change of ['nothing', 'a second factor', 'a revocation']) {
      const person = await newPerson({ linked: false, enrolled: false });
      const endpoint = await startEnclaveEndpoint({ user: person.user, clientCa: clientCa.certificate });
      const underWay = new Promise<void>((resolve) => {
        launching = async () => {
          resolve();
          await goOn;
          return endpoint.location;
        };
      });
      let end = (): void => undefined;
      const goOn = new Promise<void>((resolve) => (end = resolve));
      const request = loginRequest(await newClientKey(), byPassword(person.username, PASSWORD));
      const login = outcome(logIn(replica.login, request));
      await underWay;
      if (change === 'a second factor')
        await callUnary(
          account,
          account.confirmSecondFactor,
          { oneTimeCode: person.authenticator.code() },
          bearer(person),
        );
      if (change === 'a revocation') await database.transaction((queries) => CHANGES['a revocation']!(queries, person));
      end();
      const refusals: Record<string, string> = {
        nothing: 'done',
        'a second factor': 'login.second_factor_required',
        'a revocation': REVOKED,
      };
      expect({ change, outcome: await login }).toEqual({ change, outcome: refusals[change] });
      await endpoint.stop();
    }
  });
});
