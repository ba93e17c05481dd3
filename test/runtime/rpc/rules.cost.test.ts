import { randomUUID } from 'node:crypto';
import { Metadata } from '@grpc/grpc-js';
import type { MethodDefinition } from '@grpc/grpc-js';
import { createAuthority } from '../../../licensing/authority/authority';
import type { Interceptor } from '../../../runtime/rpc/call';
import { callUnary } from '../../../runtime/rpc/client';
import { RULES } from '../../../runtime/rpc/rules';
import type { Method } from '../../../runtime/rpc/rules';
import { currentRequester } from '../../../runtime/turns/requester';
import type { Requester } from '../../../runtime/turns/requester';
import { verifyAccessToken } from '../../../licensing/tokens/access-token';
import { AccountDeletionServiceService, AccountServiceService } from '../../../proto/gen/licensing/v1/account';
import { EnclaveManagementServiceService } from '../../../proto/gen/licensing/v1/enclaves';
import { LicenceServiceService } from '../../../proto/gen/licensing/v1/licence';
import { LoginServiceService } from '../../../proto/gen/licensing/v1/login';
import { SeatServiceService } from '../../../proto/gen/licensing/v1/seat';
import { TRUST_DOMAIN, writeAccountFiles } from '../../support/accounts';
import type { AccountFiles } from '../../support/accounts';
import { startEnclaveEndpoint } from '../../support/enclave-endpoint';
import type { EnclaveEndpoint } from '../../support/enclave-endpoint';
import type { Enclave } from '../../../functions/login/launcher/launcher';
import { byPassword, byRefreshToken, byToken, logIn, loginRequest, newClientKey } from '../../support/login-client';
import { testDatabase } from '../../support/postgres';
import { startReplica } from '../../support/replica';
import type { Replica } from '../../support/replica';
import type { CertifiedKey } from '../../../runtime/keys/key-pair';

type Cost = (typeof RULES)[Method]['cost'];
type Measured = { -readonly [Part in keyof Cost]: number };

const PASSWORD = 'correct horse battery staple';
const TIMEOUT = { timeout: 120_000 };
const CODECS = new Map(
  [
    AccountServiceService,
    AccountDeletionServiceService,
    LoginServiceService,
    LicenceServiceService,
    SeatServiceService,
    EnclaveManagementServiceService,
  ].flatMap((service) =>
    (Object.values(service) as unknown as Array<MethodDefinition<unknown, unknown>>).map(
      (method) => [method.path, method] as const,
    ),
  ),
);

/** The most that a call of each method has cost. */
const most = new Map<string, Measured>();
const passwords = new Map<Requester, number>();

const measure: Interceptor = async ({ method }, next) => {
  const requester = currentRequester()!;
  let answerBytes = 0;
  try {
    const answer = await next();
    if (answer !== undefined) answerBytes = CODECS.get(method)!.responseSerialize(answer).length;
    return answer;
  } finally {
    const before = most.get(method) ?? { statements: 0, passwords: 0, answerBytes: 0 };
    most.set(method, {
      statements: Math.max(before.statements, requester.statements),
      passwords: Math.max(before.passwords, passwords.get(requester) ?? 0),
      answerBytes: Math.max(before.answerBytes, answerBytes),
    });
  }
};

let database: { url: string; stop(): Promise<void> };
let files: AccountFiles;
let clientCa: CertifiedKey;
let replica: Replica;
const endpoints: EnclaveEndpoint[] = [];
beforeAll(async () => {
  database = await testDatabase();
  files = await writeAccountFiles(database.url);
  clientCa = await createAuthority({ commonName: 'client CA', trustDomain: TRUST_DOMAIN, years: 1 });
  const enclaveOf = async (user: string): Promise<Enclave> => {
    const endpoint = await startEnclaveEndpoint({ user, clientCa: clientCa.certificate });
    endpoints.push(endpoint);
    return { ...endpoint.location, started: true };
  };
  replica = await startReplica(files, clientCa, enclaveOf, { interceptors: [measure] });
  const { hasher } = replica.backend;
  for (const name of ['hash', 'verify', 'weakness'] as const) {
    const original = hasher[name].bind(hasher) as (...values: unknown[]) => unknown;
    Object.assign(hasher, {
      [name]: (...values: unknown[]) => {
        const requester = currentRequester();
        if (requester) passwords.set(requester, (passwords.get(requester) ?? 0) + 1);
        return original(...values);
      },
    });
  }
});
afterAll(async () => {
  await replica.stop();
  await Promise.all(endpoints.map((endpoint) => endpoint.stop()));
  await files.remove();
  await database.stop();
});

function bearing(accessToken: string): { timeout: number; metadata: Metadata } {
  const metadata = new Metadata();
  metadata.set('authorization', `Bearer ${accessToken}`);
  return { ...TIMEOUT, metadata };
}

test('no call of a service with accounts costs more than its rule says', async () => {
  const { account, login, licences, seats, management, deletion, backend } = replica;
  const username = `ada-${randomUUID().slice(0, 8)}`;
  const made = await callUnary(account, account.signUp, { username, password: PASSWORD, clientName: 'test' }, TIMEOUT);
  const { accessToken } = made;
  const own = bearing(accessToken);
  const key = await newClientKey();

  // Each kind of login, the first of which finds no enclave.
  await logIn(login, loginRequest(key, byToken(accessToken)));
  const { result } = await logIn(login, loginRequest(key, byPassword(username, PASSWORD)));
  await logIn(login, loginRequest(key, byRefreshToken(result.refreshToken)));
  await callUnary(login, login.getTokenKeys, {}, TIMEOUT);

  await callUnary(account, account.refresh, { refreshToken: made.refreshToken, clientName: 'test' }, TIMEOUT);
  await callUnary(account, account.getAccount, {}, own);
  const { sessions } = await callUnary(account, account.listSessions, {}, own);
  await callUnary(account, account.revokeSession, { session: sessions.find(({ current }) => !current)!.session }, own);
  await callUnary(account, account.getSecondFactor, {}, own);

  await callUnary(seats, seats.listSeats, {}, own);
  await callUnary(seats, seats.freeSeats, { seats: [] }, own);
  await callUnary(licences, licences.listOwnLicences, {}, own);
  await callUnary(management, management.listEnclaves, {}, own);
  await callUnary(management, management.suspendEnclave, { name: 'default' }, own);
  await callUnary(management, management.deleteEnclave, { name: 'default' }, own);

  const changed = await callUnary(
    account,
    account.changePassword,
    { oldPassword: PASSWORD, newPassword: `${PASSWORD} of Ada's`, oneTimeCode: '', unlinkIdentities: false },
    own,
  );
  const again = await callUnary(
    account,
    account.signUp,
    { username: `bob-${randomUUID().slice(0, 8)}`, password: PASSWORD, clientName: 'test' },
    TIMEOUT,
  );
  await callUnary(account, account.logOut, { refreshToken: again.refreshToken, all: true }, TIMEOUT);
  await callUnary(
    deletion,
    deletion.deleteAccount,
    { password: `${PASSWORD} of Ada's`, oneTimeCode: '', refreshToken: '' },
    bearing(changed.accessToken),
  );
  expect(changed.refreshToken).not.toBe('');
  expect((await verifyAccessToken(backend.tokenKeys, accessToken, { trustDomain: TRUST_DOMAIN })).user).not.toBe('');

  expect(most.size).toBe(17);
  const wrong = [...most].flatMap(([method, cost]) => {
    const rule = RULES[method as Method].cost;
    const over = (Object.keys(rule) as Array<keyof Cost>).filter((part) => cost[part] > rule[part]);
    return over.map((part) => `${method}: ${cost[part]} ${part}, expected ${rule[part]} at most`);
  });
  expect(wrong).toEqual([]);
});
