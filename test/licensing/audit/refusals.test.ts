import { randomUUID } from 'node:crypto';
import { Metadata } from '@grpc/grpc-js';
import { readAudit } from '../../../licensing/audit/audit';
import { Refusals } from '../../../licensing/audit/refusals';
import { createAuthority } from '../../../licensing/authority/authority';
import { callUnary } from '../../../runtime/rpc/client';
import type { RpcError } from '../../../runtime/rpc/errors';
import type { Database } from '../../../licensing/store/database';
import { verifyAccessToken } from '../../../licensing/tokens/access-token';
import { TRUST_DOMAIN, writeAccountFiles } from '../../support/accounts';
import type { AccountFiles } from '../../support/accounts';
import { describeOnBoth, emptyLog, openTestLog, recordsOf } from '../../support/audit';
import { TestClock } from '../../support/clock';
import { eventually } from '../../support/eventually';
import { byPassword, byToken, logIn, loginRequest, newClientKey } from '../../support/login-client';
import { startReplica } from '../../support/replica';
import type { Replica } from '../../support/replica';
import type { Queries } from '../../../licensing/store/queries';

const TIMEOUT = { timeout: 120_000 };

interface Row {
  reason: string;
  user_id: string;
  count: number;
}

const countsOf = (database: Database): Promise<Row[]> =>
  database.query<Row>(
    'SELECT reason, user_id, sum(count)::int AS count FROM audit_refusals GROUP BY reason, user_id ORDER BY reason, user_id',
  );

describeOnBoth('refusals', (store) => {
  let database: Database;
  beforeAll(() => void (database = store().open()));
  beforeEach(() => emptyLog(database));

  /** Some tests are about one minute of the database's, and no two: what began in another one than it ended in is done again. */
  const inOneMinute = async (work: () => Promise<void>): Promise<void> => {
    const minute = async (): Promise<string> =>
      (await database.query<{ minute: string }>(`SELECT date_trunc('minute', now())::text AS minute`))[0]!.minute;
    for (;;) {
      const began = await minute();
      const failure = await work().then(
        () => undefined,
        (error: Error) => error,
      );
      if (began !== (await minute())) await emptyLog(database);
      else if (failure) throw failure;
      else return;
    }
  };
  const minuteIsOver = (): Promise<unknown> =>
    database.query(`UPDATE audit_refusals SET minute = minute - interval '1 minute'`);

  test('are counted by reason and user, over two replicas, and become records when their minute is over', () =>
    inOneMinute(async () => {
      const replicas = [new Refusals(database), new Refusals(store().open())];
      const [ada, bob] = [randomUUID(), randomUUID()].sort() as [string, string];
      for (const refusals of replicas) {
        for (let nth = 0; nth < 300; nth++) refusals.count({ reason: 'login.wrong_credentials' });
        for (let nth = 0; nth < 20; nth++) refusals.count({ reason: 'login.wrong_credentials', user: ada });
        refusals.count({ reason: 'licence.required', user: bob });
      }
      await Promise.all(replicas.map((refusals) => refusals.flush()));
      const counts = [
        { reason: 'licence.required', user_id: bob, count: 2 },
        { reason: 'login.wrong_credentials', user_id: '', count: 600 },
        { reason: 'login.wrong_credentials', user_id: ada, count: 40 },
      ];
      expect(await countsOf(database)).toEqual(counts);
      const log = openTestLog(database);
      await minuteIsOver();
      expect((await log.update()).size).toBe(3);
      expect(await countsOf(database)).toEqual([]);
      const records = await readAudit(database, { limit: 10 });
      expect(records.map(({ kind }) => kind)).toEqual(['refused', 'refused', 'refused']);
      const minute = expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:00\.000Z$/) as string;
      expect(records.map(({ detail }) => detail)).toEqual(
        expect.arrayContaining([
          { reason: 'login.wrong_credentials', count: 600, minute },
          { reason: 'login.wrong_credentials', user: ada, count: 40, minute },
          { reason: 'licence.required', user: bob, count: 2, minute },
        ]),
      );
      // Of the minute that goes on nothing is recorded.
      replicas[0]!.count({ reason: 'login.limited' });
      await replicas[0]!.flush();
      expect((await log.update()).size).toBe(3);
      log.close();
    }));

  test('of a crowd of users in one minute are fifty counts and one for all others, however they come, and none is lost', () =>
    inOneMinute(async () => {
      const refusals = new Refusals(database);
      for (let nth = 0; nth < 30; nth++) refusals.count({ reason: 'login.limited', user: randomUUID() });
      await refusals.flush();
      for (let nth = 0; nth < 500; nth++) refusals.count({ reason: 'login.limited', user: randomUUID() });
      await refusals.flush();
      refusals.count({ reason: 'login.limited', user: randomUUID() });
      refusals.count({ reason: 'licence.limited', user: randomUUID() });
      await refusals.flush();
      const rows = (await countsOf(database)).filter(({ reason }) => reason === 'login.limited');
      expect(rows.filter(({ user_id }) => user_id !== '')).toHaveLength(50);
      expect(rows.reduce((sum, { count }) => sum + count, 0)).toBe(531);
      expect((await countsOf(database)).filter(({ reason }) => reason === 'licence.limited')).toMatchObject([
        { count: 1 },
      ]);
      // A user who has a count keeps it.
      const [known] = rows.filter(({ user_id }) => user_id !== '');
      refusals.count({ reason: 'login.limited', user: known!.user_id });
      await refusals.flush();
      expect(await countsOf(database)).toContainEqual({ ...known!, count: known!.count + 1 });
    }));

  test('cost the database one statement a second, however many they are', async () => {
    let statements = 0;
    const counting: Queries = {
      query: (text, values) => {
        statements++;
        return database.query(text, values);
      },
    };
    const refusals = new Refusals(counting);
    for (let nth = 0; nth < 100_000; nth++) refusals.count({ reason: 'login.token_invalid' });
    await refusals.close();
    expect(statements).toBe(1);
    expect(await countsOf(database)).toEqual([{ reason: 'login.token_invalid', user_id: '', count: 100_000 }]);
  });

  test('are written by themselves a second later', async () => {
    const clock = new TestClock();
    const refusals = new Refusals(database, { clock });
    refusals.count({ reason: 'login.token_invalid' });
    expect(clock.waits).toEqual([1_000]);
    await clock.advance(1_000);
    await eventually(async () => (await countsOf(database)).length > 0);
    await refusals.close();
  });

  test('are kept while the database is away', async () => {
    let away = true;
    const refusals = new Refusals({
      query: (text, values) => (away ? Promise.reject(new Error('away')) : database.query(text, values)),
    });
    for (let nth = 0; nth < 100; nth++) refusals.count({ reason: 'login.limited', user: randomUUID() });
    await refusals.flush();
    expect(await countsOf(database)).toEqual([]);
    away = false;
    await refusals.close();
    const rows = await countsOf(database);
    expect(rows).toHaveLength(51);
    expect(rows.reduce((sum, { count }) => sum + count, 0)).toBe(100);
  });

  test('of hours in which nobody asked for a head are recorded by and by, and no merge is long for them', async () => {
    await database.query(
      `INSERT INTO audit_refusals SELECT date_trunc('minute', now()) - make_interval(mins => n), 'login.limited', '', 1 FROM generate_series(1, 1203) AS n`,
    );
    const log = openTestLog(database);
    expect((await log.update()).size).toBe(1203);
    const minutes = (await readAudit(database, { limit: 2000 })).map(({ detail }) => detail['minute'] as string);
    expect(new Set(minutes).size).toBe(1203);
    log.close();
  });

  describe('of the services', () => {
    let files: AccountFiles;
    let replica: Replica;
    const password = 'correct horse battery staple';

    beforeAll(async () => {
      files = await writeAccountFiles(store().url);
      const clientCa = await createAuthority({ commonName: 'client CA', trustDomain: TRUST_DOMAIN, years: 1 });
      replica = await startReplica(files, clientCa, () => Promise.reject(new Error('no enclave here')), {
        licenceRequired: true,
      });
    });
    afterAll(async () => {
      await replica.stop();
      await files.remove();
    });

    const refusal = (call: Promise<unknown>): Promise<string> =>
      call.then(
        () => 'granted',
        (error: RpcError) => error.code,
      );
    const counted = async (): Promise<Row[]> => {
      await replica.backend.refusals.flush();
      return countsOf(database);
    };

    test('name the user where one is known, and never by name', async () => {
      const username = `refused-${randomUUID().slice(0, 8)}`;
      const { accessToken } = await callUnary(
        replica.account,
        replica.account.signUp,
        { username, password, clientName: '' },
        TIMEOUT,
      );
      const { user } = await verifyAccessToken(replica.backend.tokenKeys, accessToken, { trustDomain: TRUST_DOMAIN });
      const key = await newClientKey();
      const metadata = new Metadata();
      metadata.set('authorization', `Bearer ${accessToken}`);
      const login = (credential: Parameters<typeof loginRequest>[1]): Promise<string> =>
        refusal(logIn(replica.login, loginRequest(key, credential)));
      const rubbish = new Metadata();
      rubbish.set('authorization', 'Bearer rubbish');

      expect(await login(byPassword(username, 'wrong'))).toBe('login.wrong_credentials');
      expect(await login(byPassword(username, 'wrong again'))).toBe('login.wrong_credentials');
      expect(await login(byPassword('nobody-of-this-name', password))).toBe('login.wrong_credentials');
      expect(await login(byToken(accessToken))).toBe('licence.required');
      expect(await login(undefined)).toBe('login.credential_missing');
      expect(
        await refusal(callUnary(replica.seats, replica.seats.listSeats, {}, { ...TIMEOUT, metadata: rubbish })),
      ).toBe('login.token_invalid');
      expect(await refusal(callUnary(replica.management, replica.management.listEnclaves, {}, TIMEOUT))).toBe(
        'login.token_missing',
      );
      expect(
        await refusal(
          callUnary(
            replica.deletion,
            replica.deletion.deleteAccount,
            { password: 'wrong', oneTimeCode: '', refreshToken: '' },
            { ...TIMEOUT, metadata },
          ),
        ),
      ).toBe('login.wrong_credentials');
      expect(
        await refusal(
          callUnary(
            replica.account,
            replica.account.changePassword,
            { oldPassword: 'wrong', newPassword: password, oneTimeCode: '', unlinkIdentities: false },
            { ...TIMEOUT, metadata },
          ),
        ),
      ).toBe('login.wrong_credentials');
      expect(
        await refusal(
          callUnary(
            replica.licences,
            replica.licences.dropLicence,
            { licence: randomUUID(), password: { username, password: 'wrong', knownSession: '' }, oneTimeCode: '' },
            TIMEOUT,
          ),
        ),
      ).toBe('login.wrong_credentials');

      const sum = (await counted()).map(({ reason, user_id, count }) => [
        reason,
        user_id === user ? 'ada' : user_id,
        count,
      ]);
      expect(sum).toEqual([
        ['licence.required', 'ada', 1],
        ['login.credential_missing', '', 1],
        ['login.token_invalid', '', 1],
        ['login.token_missing', '', 1],
        ['login.wrong_credentials', '', 1],
        ['login.wrong_credentials', 'ada', 5],
      ]);
      expect(JSON.stringify(await counted())).not.toContain(username);
    });

    test('a mistake in the request, a failure of our own and a success are no refusals', async () => {
      const username = `fine-${randomUUID().slice(0, 8)}`;
      const signUp = (): Promise<string> =>
        refusal(callUnary(replica.account, replica.account.signUp, { username, password, clientName: '' }, TIMEOUT));
      expect(await signUp()).toBe('granted');
      expect(await signUp()).toBe('signup.username_taken');
      expect(await refusal(callUnary(replica.login, replica.login.getTokenKeys, {}, TIMEOUT))).toBe('granted');
      expect(await counted()).toEqual([]);
    });

    test('a login that is refused for want of a licence can be tried again and again, and fills no log', async () => {
      const username = `again-${randomUUID().slice(0, 8)}`;
      const { accessToken } = await callUnary(
        replica.account,
        replica.account.signUp,
        { username, password, clientName: '' },
        TIMEOUT,
      );
      const { user } = await verifyAccessToken(replica.backend.tokenKeys, accessToken, { trustDomain: TRUST_DOMAIN });
      const key = await newClientKey();
      for (let nth = 0; nth < 30; nth++)
        expect(await refusal(logIn(replica.login, loginRequest(key, byToken(accessToken))))).toBe('licence.required');
      const records = (await recordsOf(database)).filter(
        ({ kind, detail }) => kind === 'licence.refused' && detail['user'] === user,
      );
      expect(records.length).toBeLessThanOrEqual(21);
      expect(await counted()).toContainEqual({ reason: 'licence.required', user_id: user, count: 30 });
    });

    test('what was counted is written when the program ends', async () => {
      const ending = await startReplica(
        files,
        await createAuthority({ commonName: 'another', trustDomain: TRUST_DOMAIN, years: 1 }),
        () => Promise.reject(new Error('none')),
      );
      expect(await refusal(callUnary(ending.seats, ending.seats.listSeats, {}, TIMEOUT))).toBe('login.token_missing');
      await ending.stop();
      expect(await countsOf(database)).toEqual([{ reason: 'login.token_missing', user_id: '', count: 1 }]);
    });
  });
});
