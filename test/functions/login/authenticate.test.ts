import { openReplica } from '../../support/accounts';
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

  test('cannot be told from unknown users by time', async () => {
    const slow = await openReplica(service.files, { cost: 9 });
    await slow.accounts.create('timed', await slow.hasher.hash(PASSWORD));
    const { authenticate } = await import('../../../functions/login/authenticate');
    const time = async (username: string): Promise<number> => {
      const started = performance.now();
      await authenticate(
        slow,
        { credential: byPassword(username, 'wrong password'), oneTimeCode: '' },
        { name: '', address: 'local' },
        { signal: new AbortController().signal },
      ).catch(() => undefined);
      return performance.now() - started;
    };
    // The fastest of each: what else the machine does only ever adds. More are taken while those of a busy machine differ.
    let known = Infinity;
    let unknown = Infinity;
    const alike = (): boolean => unknown / known > 0.75 && unknown / known < 1.33;
    for (let i = 0; i < 100 && (i < 15 || !alike()); i++) {
      known = Math.min(known, await time('timed'));
      unknown = Math.min(unknown, await time('nobody.here'));
    }
    await slow.close();
    expect(known).toBeGreaterThan(10);
    expect(unknown / known).toBeGreaterThan(0.75);
    expect(unknown / known).toBeLessThan(1.33);
  });
});
