import { openReplica } from '../../support/accounts';
import { watchComparisons } from '../../support/hashing';
import { byPassword, logIn, loginRequest } from '../../support/login-client';
import { LoginUnderTest, PASSWORD } from '../../support/login-service';

let service: LoginUnderTest;
beforeAll(async () => {
  service = await LoginUnderTest.start();
});
afterAll(() => service.stop());
beforeEach(() => service.beginTest());
afterEach(() => service.endTest());

describe('passwords', () => {
  test('that share 72 bytes with the right one do not log in', async () => {
    await service.enclave();
    const start = 'x'.repeat(72);
    const id = await service.backend.accounts.create('long', await service.backend.hasher.hash(`${start}one`));
    await service.enclave({ user: id });
    expect(await service.refusal(loginRequest(service.key, byPassword('long', `${start}two`)))).toBe(
      'login.wrong_credentials UNAUTHENTICATED',
    );
    expect(
      (await logIn(service.client, loginRequest(service.key, byPassword('long', `${start}one`)))).result.enclave?.user,
    ).toBe(id);
  });

  test('cannot be told from unknown users by status, text or trailers', async () => {
    const answers = await Promise.all(
      [
        ['alice', 'wrong password'],
        ['nobody', 'wrong password'],
        ['../etc', 'wrong password'],
        ['', ''],
        ['alice', 'x'.repeat(5000)],
      ].map(async ([name, secret]) => {
        const { grpcStatus, code, message, cause } = await service.refusalOf(
          loginRequest(service.key, byPassword(name!, secret!)),
        );
        const { metadata } = cause as unknown as { metadata: { getMap(): Record<string, unknown> } };
        return JSON.stringify({ grpcStatus, code, message, trailers: { ...metadata.getMap(), date: '' } });
      }),
    );
    expect(new Set(answers).size).toBe(1);
    expect(answers[0]).toContain('login.wrong_credentials');
  });

  test('cannot be told from unknown users by the work that they cost', async () => {
    const { authenticate } = await import('../../../functions/login/authenticate');
    const dearer = await openReplica(service.files, { cost: 6 });
    await dearer.accounts.create('as.now', await dearer.hasher.hash(PASSWORD));
    const refused = (username: string): Promise<unknown> =>
      expect(
        authenticate(
          dearer,
          { credential: byPassword(username, 'wrong password'), oneTimeCode: '' },
          { name: '', address: 'local' },
          { signal: new AbortController().signal },
        ),
      ).rejects.toMatchObject({ code: 'login.wrong_credentials' });
    const compared = watchComparisons();
    await refused('as.now');
    await refused('nobody.here');
    // From before the cost was raised.
    await refused('alice');
    const [present, unknown, before] = compared();
    await dearer.close();
    expect([present, unknown]).toEqual([[6], [6]]);
    expect(before!.reduce((sum, cost) => sum + 2 ** cost, 0)).toBe(2 ** 6);
  });
});
