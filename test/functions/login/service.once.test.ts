import { byPassword, byToken, logIn, loginRequest } from '../../support/login-client';
import { LoginUnderTest, PASSWORD } from '../../support/login-service';
import { recordsOf } from '../../support/audit';

const LOGINS = 5;

let service: LoginUnderTest;
beforeAll(async () => {
  service = await LoginUnderTest.start({ loginsPerAccount: LOGINS });
});
afterAll(() => service.stop());
beforeEach(async () => {
  await service.beginTest();
  await service.backend.database.query('DELETE FROM limits');
});
afterEach(() => service.endTest());

async function logins(): Promise<number> {
  return (await recordsOf(service.backend.database)).filter(({ kind }) => kind === 'login.granted').length;
}

test.each([
  ['a password', () => byPassword('alice', PASSWORD)],
  ['an access token', () => byToken(service.token)],
])('a login by %s that is sent again is none: nothing is hashed, launched or recorded', async (_title, credential) => {
  await service.enclave();
  const request = loginRequest(service.key, credential());
  await logIn(service.client, request);
  const [before, { ensured }] = [await logins(), service.launcher];
  const hashing = jest.spyOn(service.backend.hasher, 'verify');
  for (let i = 0; i < 2 * LOGINS; i++) expect(await service.refusal(request)).toBe('login.nonce_used UNAUTHENTICATED');
  expect(hashing).not.toHaveBeenCalled();
  hashing.mockRestore();
  expect(service.launcher.ensured).toBe(ensured);
  expect(await logins()).toBe(before);
  // Refused logins don't count among those that its user may have.
  for (let i = 1; i < LOGINS; i++) await logIn(service.client, loginRequest(service.key, credential()));
});

// No more than may be admitted before the first of them has used the nonce up: each counts among its user's until then.
test('of a login that is sent several times at once, one goes on', async () => {
  await service.enclave();
  const before = await logins();
  const request = loginRequest(service.key, byToken(service.token));
  const outcomes = await Promise.all(
    Array.from({ length: LOGINS }, () =>
      logIn(service.client, request).then(
        () => 'ok',
        ({ code }: { code: string }) => code,
      ),
    ),
  );
  expect(outcomes.sort()).toEqual([...Array<string>(LOGINS - 1).fill('login.nonce_used'), 'ok']);
  expect(await logins()).toBe(before + 1);
});

test('a nonce of which a login failed to authenticate is not used up, and another user may have the same', async () => {
  await service.enclave();
  const request = loginRequest(service.key, byPassword('alice', 'wrong horse battery'));
  expect(await service.refusal(request)).toBe('login.wrong_credentials UNAUTHENTICATED');
  const bob = (await service.backend.accounts.create('bob', await service.backend.hasher.hash(PASSWORD)))!;
  await service.enclave({ user: bob });
  await logIn(service.client, { ...request, credential: byPassword('bob', PASSWORD) });
  await service.enclave();
  await logIn(service.client, { ...request, credential: byPassword('alice', PASSWORD) });
});

test('a user who logs in without end is told to wait, and fills no log', async () => {
  await service.enclave();
  const before = await logins();
  for (let i = 0; i < LOGINS; i++) await logIn(service.client, loginRequest(service.key, byToken(service.token)));
  const refusal = await service.refusalOf(loginRequest(service.key, byToken(service.token)));
  expect(refusal.code).toBe('login.limited');
  expect(refusal.details.retryAfterSeconds).toBeGreaterThan(0);
  expect(await logins()).toBe(before + LOGINS);
});
