import { createPrivateKey } from 'node:crypto';
import { Client, credentials } from '@grpc/grpc-js';
import { signHeartbeat } from '../../../attestation/seats/statements';
import { createAuthority } from '../../../licensing/authority/authority';
import { issueClientCertificate } from '../../../licensing/authority/client';
import { deleteAccount } from '../../../licensing/accounts/deletion';
import { restore, revoke } from '../../../licensing/revocation/store';
import { callUnary } from '../../../runtime/rpc/client';
import type { Method } from '../../../runtime/rpc/rules';
import { LogOutRequest, RefreshRequest } from '../../../proto/gen/licensing/v1/account';
import { DropLicenceRequest, RedeemLicenceRequest } from '../../../proto/gen/licensing/v1/licence';
import { LoginRequest } from '../../../proto/gen/licensing/v1/login';
import { RenewSeatRequest, TakeSeatRequest } from '../../../proto/gen/licensing/v1/seat';
import type { CertifiedKey } from '../../../runtime/keys/key-pair';
import { beginSession, TRUST_DOMAIN, writeAccountFiles } from '../../support/accounts';
import type { AccountFiles } from '../../support/accounts';
import { callAt, methodsFor } from '../../support/every-service';
import { byPassword, byRefreshToken, byToken, loginRequest, newClientKey } from '../../support/login-client';
import { loginTpm } from '../../support/login-trust';
import { testDatabase } from '../../support/postgres';
import { startReplica } from '../../support/replica';
import type { Replica } from '../../support/replica';
import { bearer, openConnection, takeRequest, takeSeat } from '../../support/seats';

const PASSWORD = 'correct horse battery';

let database: { url: string; stop(): Promise<void> };
let files: AccountFiles;
let clientCa: CertifiedKey;
let replica: Replica;
let wire: Client;
let passwordHash: string;

beforeAll(async () => {
  database = await testDatabase();
  files = await writeAccountFiles(database.url);
  clientCa = await createAuthority({ commonName: 'client CA', trustDomain: TRUST_DOMAIN, years: 1 });
  replica = await startReplica(files, clientCa, () => Promise.reject(new Error('no enclave')));
  wire = new Client(`127.0.0.1:${replica.port}`, credentials.createInsecure());
  passwordHash = await replica.backend.hasher.hash(PASSWORD);
});
afterAll(async () => {
  wire.close();
  await replica.stop();
  await files.remove();
  await database.stop();
});

interface User {
  username: string;
  user: string;
  session: string;
  accessToken: string;
  refreshToken: string;
}

let users = 0;
async function newUser(): Promise<User> {
  const username = `user${(users += 1)}`;
  const user = (await replica.backend.accounts.create(username, passwordHash))!;
  return { username, user, ...(await beginSession(replica.backend, user)) };
}

/** What a call is made with. */
type Credential = 'access token' | 'refresh token' | 'password' | 'certificate' | 'heartbeat';

interface Attempt {
  by: Credential;
  method: Method;
  request: Buffer;
  accessToken?: string;
}

const EMPTY = Buffer.alloc(0);
const encoded = (writer: { finish(): Uint8Array }): Buffer => Buffer.from(writer.finish());

/** Every way to say who one is, on every method that takes it: those for access tokens by their rules alone, so a new one is among them. */
async function attemptsOf(user: User): Promise<Attempt[]> {
  const { accessToken, refreshToken, username } = user;
  const key = await newClientKey();
  const password = { username, password: PASSWORD, knownSession: '' };
  const login = (by: Credential, credential: LoginRequest['credential']): Attempt => ({
    by,
    method: '/licensing.v1.LoginService/Login',
    request: encoded(LoginRequest.encode(loginRequest(key, credential))),
  });
  const certificate = { user: user.user, session: user.session, trustDomain: TRUST_DOMAIN, seconds: 600 };
  const client = {
    ...user,
    key: key.privateKey,
    clientCertificates: await issueClientCertificate(clientCa, key.csr, certificate),
  };
  const tpm = await loginTpm();
  const seated = await openConnection(client, tpm);
  const { seat } = await takeSeat(replica.seats, seated);
  const { tlsExporter, identity } = seated;
  const at = Date.now();
  const signature = signHeartbeat(createPrivateKey(identity.privateKey), { seat, tlsExporter, at });
  const own = methodsFor('access token').filter((method) => !method.endsWith('/DeleteAccount'));
  expect(own.length).toBeGreaterThan(15);
  return [
    ...[
      ...own,
      '/licensing.v1.LicenceService/RedeemLicence' as const,
      '/licensing.v1.LicenceService/DropLicence' as const,
      '/licensing.v1.AccountDeletionService/DeleteAccount' as const,
    ].map((method): Attempt => ({ by: 'access token', method, request: EMPTY, accessToken })),
    login('access token', byToken(accessToken)),
    login('password', byPassword(username, PASSWORD)),
    {
      by: 'password',
      method: '/licensing.v1.LicenceService/RedeemLicence',
      request: encoded(RedeemLicenceRequest.encode({ key: '', password, oneTimeCode: '' })),
    },
    {
      by: 'password',
      method: '/licensing.v1.LicenceService/DropLicence',
      request: encoded(DropLicenceRequest.encode({ licence: '', password, oneTimeCode: '' })),
    },
    {
      by: 'certificate',
      method: '/licensing.v1.SeatService/TakeSeat',
      request: encoded(TakeSeatRequest.encode(takeRequest(await openConnection(client, tpm)))),
    },
    {
      by: 'heartbeat',
      method: '/licensing.v1.SeatService/RenewSeat',
      request: encoded(RenewSeatRequest.encode({ seat, heartbeat: { at: BigInt(at), signature }, token: '' })),
    },
    login('refresh token', byRefreshToken(refreshToken)),
    {
      by: 'refresh token',
      method: '/licensing.v1.AccountService/Refresh',
      request: encoded(RefreshRequest.encode({ refreshToken, clientName: '' })),
    },
    {
      by: 'refresh token',
      method: '/licensing.v1.AccountService/LogOut',
      request: encoded(LogOutRequest.encode({ refreshToken, all: true })),
    },
  ];
}

async function reasonOf({ method, request, accessToken }: Attempt): Promise<string> {
  const metadata = accessToken === undefined ? undefined : bearer({ accessToken }).metadata;
  return (await callAt(wire, method, request, metadata)).reason;
}

/** By the method and what it is called with. One after the other: an earlier one must not be what ends a later one. */
async function reasonsOf(attempts: Attempt[]): Promise<Record<string, string>> {
  const reasons: Record<string, string> = {};
  for (const attempt of attempts) reasons[`${attempt.method} by ${attempt.by}`] = await reasonOf(attempt);
  return reasons;
}

async function expectRefused(attempts: Attempt[], expected: Record<Credential, string>): Promise<void> {
  expect(await reasonsOf(attempts)).toEqual(
    Object.fromEntries(attempts.map(({ method, by }) => [`${method} by ${by}`, expected[by]])),
  );
}

const call = ({ accessToken }: Pick<User, 'accessToken'>) => bearer({ accessToken });

async function changePassword(by: Pick<User, 'accessToken'>): Promise<void> {
  const { account } = replica;
  await callUnary(
    account,
    account.changePassword,
    { oldPassword: PASSWORD, newPassword: 'another horse battery', oneTimeCode: '', unlinkIdentities: false },
    call(by),
  );
}

test('while account and session are alive, no method says that its caller is nobody', async () => {
  const reasons = await reasonsOf(await attemptsOf(await newUser()));
  const refused = Object.entries(reasons).filter(([, reason]) =>
    /^login\.(revoked|session_ended|token_|refresh_invalid|refresh_reused)/.test(reason),
  );
  expect(refused).toEqual([]);
});

test('a revoked user is nobody to every method, at once; and what was stolen before is worth nothing when they are restored', async () => {
  const user = await newUser();
  const attempts = await attemptsOf(user);
  const subject = { kind: 'user', subject: user.user } as const;
  await replica.backend.database.transaction((queries) =>
    revoke(queries, { ...subject, revokedBy: 'ada', reason: 'test' }),
  );
  await expectRefused(attempts, {
    'access token': 'login.revoked',
    'refresh token': 'login.revoked',
    password: 'login.revoked',
    certificate: 'login.revoked',
    heartbeat: 'login.revoked',
  });
  await restore(replica.backend.database, subject.kind, subject.subject);
  const ended = 'login.session_ended';
  await expectRefused(
    attempts.filter(({ by }) => by !== 'password'),
    { 'access token': ended, 'refresh token': ended, password: '', certificate: ended, heartbeat: ended },
  );
});

test('a session that has ended is over for every method, at once', async () => {
  const user = await newUser();
  const attempts = (await attemptsOf(user)).filter(({ by }) => by !== 'password');
  const { account } = replica;
  const other = await beginSession(replica.backend, user.user);
  await callUnary(account, account.revokeSession, { session: user.session }, call(other));
  const ended = 'login.session_ended';
  await expectRefused(attempts, {
    'access token': ended,
    'refresh token': ended,
    password: '',
    certificate: ended,
    heartbeat: ended,
  });
});

test('a changed password ends all that other sessions have, and their own access token for the session that changed it', async () => {
  const user = await newUser();
  const attempts = await attemptsOf(user);
  await changePassword(await beginSession(replica.backend, user.user));
  const ended = 'login.session_ended';
  await expectRefused(attempts, {
    'access token': ended,
    'refresh token': ended,
    password: 'login.wrong_credentials',
    certificate: ended,
    heartbeat: ended,
  });

  const changer = await newUser();
  const own = (await attemptsOf(changer)).filter(({ by }) => by === 'access token');
  await changePassword(changer);
  expect(new Set(Object.values(await reasonsOf(own)))).toEqual(new Set(['login.token_invalid']));
});

test('a deleted account is nobody to every method, at once', async () => {
  const user = await newUser();
  const attempts = await attemptsOf(user);
  await deleteAccount(replica.backend.database, user.user, { kind: 'account.deleted', detail: { user: user.user } });
  await expectRefused(attempts, {
    'access token': 'login.session_ended',
    'refresh token': 'login.refresh_invalid',
    password: 'login.wrong_credentials',
    certificate: 'login.session_ended',
    // Its seat is gone with it.
    heartbeat: 'seat.heartbeat',
  });
});
