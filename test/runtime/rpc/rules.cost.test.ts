import { randomBytes, randomUUID } from 'node:crypto';
import { Metadata } from '@grpc/grpc-js';
import { createAuthority } from '../../../licensing/authority/authority';
import { callUnary } from '../../../runtime/rpc/client';
import type { RpcError } from '../../../runtime/rpc/errors';
import { RULES } from '../../../runtime/rpc/rules';
import { verifyAccessToken } from '../../../licensing/tokens/access-token';
import { AccountDeletionServiceService, AccountServiceService } from '../../../proto/gen/licensing/v1/account';
import { EnclaveManagementServiceService } from '../../../proto/gen/licensing/v1/enclaves';
import { LicenceServiceService } from '../../../proto/gen/licensing/v1/licence';
import { LoginServiceService } from '../../../proto/gen/licensing/v1/login';
import { SeatServiceService } from '../../../proto/gen/licensing/v1/seat';
import { TransparencyServiceService } from '../../../proto/gen/licensing/v1/transparency';
import { TrustServiceService } from '../../../proto/gen/licensing/v1/trust';
import { TRUST_DOMAIN, writeAccountFiles } from '../../support/accounts';
import type { AccountFiles } from '../../support/accounts';
import { writeRecords } from '../../support/audit';
import { Authenticator } from '../../support/authenticator';
import { CostMeter } from '../../support/cost';
import { startEnclaveEndpoint } from '../../support/enclave-endpoint';
import type { EnclaveEndpoint } from '../../support/enclave-endpoint';
import type { Enclave } from '../../../functions/login/launcher/launcher';
import { insertLicence, keyOf } from '../../support/licences';
import { byPassword, byRefreshToken, byToken, logIn, loginRequest, newClientKey } from '../../support/login-client';
import { loginTpm } from '../../support/login-trust';
import { OpenIdProvider } from '../../support/openid-provider';
import { testDatabase } from '../../support/postgres';
import { startReplica } from '../../support/replica';
import type { Replica } from '../../support/replica';
import {
  closingOf,
  endSeat,
  newSeatClient,
  openConnection,
  renewSeat,
  takeRequest,
  takeSeat,
} from '../../support/seats';
import type { CertifiedKey } from '../../../runtime/keys/key-pair';

const PASSWORD = 'correct horse battery staple';
const NEW_PASSWORD = `${PASSWORD} of Ada's`;
const TIMEOUT = { timeout: 120_000 };

const meter = new CostMeter([
  AccountServiceService,
  AccountDeletionServiceService,
  LoginServiceService,
  LicenceServiceService,
  SeatServiceService,
  EnclaveManagementServiceService,
  TrustServiceService,
  TransparencyServiceService,
]);

let database: { url: string; stop(): Promise<void> };
let files: AccountFiles;
let clientCa: CertifiedKey;
let provider: OpenIdProvider;
let replica: Replica;
const endpoints: EnclaveEndpoint[] = [];
beforeAll(async () => {
  [database, provider] = await Promise.all([testDatabase(), OpenIdProvider.start()]);
  files = await writeAccountFiles(database.url);
  clientCa = await createAuthority({ commonName: 'client CA', trustDomain: TRUST_DOMAIN, years: 1 });
  const enclaveOf = async (user: string): Promise<Enclave> => {
    const endpoint = await startEnclaveEndpoint({ user, clientCa: clientCa.certificate });
    endpoints.push(endpoint);
    return { ...endpoint.location, started: true };
  };
  const { issuer, clientId } = provider;
  const oidc = { issuer, clientId, publicClientSecret: undefined, scopes: ['openid'], signup: true };
  replica = await startReplica(files, clientCa, enclaveOf, { interceptors: [meter.interceptor], oidc });
  meter.watch(replica.backend.hasher);
});
afterAll(async () => {
  await replica.stop();
  await Promise.all(endpoints.map((endpoint) => endpoint.stop()));
  await Promise.all([files.remove(), database.stop(), provider.goDown()]);
});

function bearing(accessToken: string): { timeout: number; metadata: Metadata } {
  const metadata = new Metadata();
  metadata.set('authorization', `Bearer ${accessToken}`);
  return { ...TIMEOUT, metadata };
}

interface Person {
  username: string;
  accessToken: string;
  refreshToken: string;
  own: { timeout: number; metadata: Metadata };
}

async function signUp(): Promise<Person> {
  const { account } = replica;
  const username = `ada-${randomUUID().slice(0, 8)}`;
  const made = await callUnary(account, account.signUp, { username, password: PASSWORD, clientName: 'test' }, TIMEOUT);
  return { username, ...made, own: bearing(made.accessToken) };
}

/** A call that is refused costs what it costs, too. */
const refused = (call: Promise<unknown>): Promise<string> =>
  call.then(
    () => 'not refused',
    ({ code }: RpcError) => code,
  );

describe('no call costs more than its rule says', () => {
  test('of logins, sessions and enclaves', async () => {
    const { account, login, management, backend } = replica;
    const { username, accessToken, refreshToken, own } = await signUp();
    const key = await newClientKey();
    // Each kind of login, the first of which finds no enclave.
    await logIn(login, loginRequest(key, byToken(accessToken)));
    const byWord = loginRequest(key, byPassword(username, PASSWORD));
    const { result } = await logIn(login, byWord);
    await logIn(login, loginRequest(key, byRefreshToken(result.refreshToken)));
    expect(await refused(logIn(login, byWord))).toBe('login.nonce_used');
    await callUnary(login, login.getTokenKeys, {}, TIMEOUT);

    await callUnary(account, account.refresh, { refreshToken, clientName: 'test' }, TIMEOUT);
    await callUnary(account, account.getAccount, {}, own);
    await callUnary(account, account.getOidcSettings, {}, TIMEOUT);
    const { sessions } = await callUnary(account, account.listSessions, {}, own);
    await callUnary(
      account,
      account.revokeSession,
      { session: sessions.find(({ current }) => !current)!.session },
      own,
    );
    await callUnary(management, management.listEnclaves, {}, own);
    await callUnary(management, management.suspendEnclave, { name: 'default' }, own);
    await callUnary(management, management.deleteEnclave, { name: 'default' }, own);
    const other = await signUp();
    await callUnary(account, account.logOut, { refreshToken: other.refreshToken, all: true }, TIMEOUT);
    const { user } = await verifyAccessToken(backend.tokenKeys, accessToken, { trustDomain: TRUST_DOMAIN });
    expect(user).not.toBe('');
  });

  test('of second factors, identities, and the password and the end of an account that has both', async () => {
    const { account, login, deletion } = replica;
    const { username, own } = await signUp();
    const begun = await callUnary(account, account.beginSecondFactor, { password: PASSWORD, refreshToken: '' }, own);
    const authenticator = new Authenticator(begun.secret);
    const { recoveryCodes } = await callUnary(
      account,
      account.confirmSecondFactor,
      { oneTimeCode: authenticator.code() },
      own,
    );
    const codes = [...recoveryCodes];
    await callUnary(account, account.getSecondFactor, {}, own);
    const renewed = await callUnary(
      account,
      account.renewRecoveryCodes,
      { password: PASSWORD, oneTimeCode: codes.shift()!, refreshToken: '' },
      own,
    );
    codes.splice(0, codes.length, ...renewed.recoveryCodes);
    await logIn(login, {
      ...loginRequest(await newClientKey(), byPassword(username, PASSWORD)),
      oneTimeCode: codes.shift()!,
    });
    const link = async (): Promise<void> => {
      const idToken = await provider.sign(provider.claims(username));
      await callUnary(account, account.linkIdentity, { password: PASSWORD, oneTimeCode: codes.shift()!, idToken }, own);
    };
    await link();
    await callUnary(account, account.unlinkIdentity, { password: PASSWORD, oneTimeCode: codes.shift()! }, own);
    await link();
    const exchange = async (subject: string, oneTimeCode: string): Promise<void> => {
      const idToken = await provider.sign(provider.claims(subject));
      await callUnary(
        account,
        account.exchangeIdToken,
        { idToken, username: '', oneTimeCode, clientName: 'test' },
        TIMEOUT,
      );
    };
    // One that makes an account, and one that finds it.
    await exchange('somebody new', '');
    await exchange(username, codes.shift()!);
    const changed = await callUnary(
      account,
      account.changePassword,
      { oldPassword: PASSWORD, newPassword: NEW_PASSWORD, oneTimeCode: codes.shift()!, unlinkIdentities: true },
      own,
    );
    const disabling = { password: NEW_PASSWORD, refreshToken: '' };
    const now = bearing(changed.accessToken);
    expect(
      await refused(
        callUnary(account, account.disableSecondFactor, { ...disabling, oneTimeCode: authenticator.wrong() }, now),
      ),
    ).toBe('login.second_factor_wrong');
    await callUnary(
      deletion,
      deletion.deleteAccount,
      { password: NEW_PASSWORD, oneTimeCode: codes.shift()!, refreshToken: '' },
      now,
    );
    const last = await signUp();
    const { secret } = await callUnary(
      account,
      account.beginSecondFactor,
      { password: PASSWORD, refreshToken: '' },
      last.own,
    );
    const confirmed = await callUnary(
      account,
      account.confirmSecondFactor,
      { oneTimeCode: new Authenticator(secret).code() },
      last.own,
    );
    await callUnary(
      account,
      account.disableSecondFactor,
      { password: PASSWORD, oneTimeCode: confirmed.recoveryCodes[0]!, refreshToken: '' },
      last.own,
    );
  });

  test('of licences, by token and by password', async () => {
    const { licences, backend } = replica;
    const { username, own } = await signUp();
    for (const [password, options] of [
      [undefined, own],
      [{ username, password: PASSWORD, knownSession: '' }, TIMEOUT],
    ] as const) {
      const licence = await insertLicence(backend.database);
      const key = await keyOf(licence);
      await callUnary(licences, licences.redeemLicence, { key, password, oneTimeCode: '' }, options);
      await callUnary(licences, licences.listOwnLicences, {}, own);
      await callUnary(licences, licences.dropLicence, { licence, password, oneTimeCode: '' }, options);
    }
  });

  test('of seats', async () => {
    const { seats } = replica;
    const tpm = await loginTpm();
    const client = await newSeatClient(replica, clientCa);
    const [one, two] = [await openConnection(client, tpm), await openConnection(client, tpm)];
    const first = await takeSeat(seats, one);
    await renewSeat(seats, one, first.seat);
    await endSeat(seats, first.token, closingOf(one, first.seat));
    // The most that a client can bring.
    const closed = Array.from({ length: 32 }, () => ({ seat: randomUUID(), closing: closingOf(one, first.seat) }));
    const { grant } = await callUnary(seats, seats.takeSeat, { ...takeRequest(two), closed }, TIMEOUT);
    await callUnary(seats, seats.listSeats, {}, bearing(client.accessToken));
    await callUnary(seats, seats.freeSeats, { seats: [] }, bearing(client.accessToken));
    expect(await refused(renewSeat(seats, two, grant!.seat))).toBe('seat.freed');
  });

  test('of what anyone may ask', async () => {
    const { trust, transparency, backend } = replica;
    await writeRecords(backend.database, 300);
    await callUnary(trust, trust.getTrustBundle, {}, TIMEOUT);
    await callUnary(trust, trust.getRevocations, {}, TIMEOUT);
    await callUnary(transparency, transparency.getTreeHead, { atLeast: 0n }, TIMEOUT);
    await callUnary(transparency, transparency.getTreeHead, { atLeast: 2n ** 40n }, TIMEOUT);
    await callUnary(transparency, transparency.getConsistencyProof, { first: 7n, second: 290n }, TIMEOUT);
    const [row] = await backend.database.query<{ leaf: Buffer }>(
      'SELECT leaf_sha256 AS leaf FROM audit WHERE sequence = 7',
    );
    const { path } = await callUnary(
      transparency,
      transparency.getInclusionProof,
      { leafSha256: row!.leaf, size: 290n },
      TIMEOUT,
    );
    expect(path).toHaveLength(9);
    expect(
      await refused(
        callUnary(transparency, transparency.getInclusionProof, { leafSha256: randomBytes(32), size: 290n }, TIMEOUT),
      ),
    ).toBe('audit.not_included');
  });

  // Of Login's answers, which are a stream, sizes.ts bounds each.
  afterAll(() => {
    expect(meter.wrong).toEqual([]);
    expect(meter.unmeasured).toEqual([]);
  });
});

test('programs without a database and without passwords have nothing of either in their rules: all other rules are measured here and in rules.cost.admin.test.ts', () => {
  const elsewhere = /^\/licensing\.v1\.(AdminService|EnrolService)\//;
  const none = Object.entries(RULES).filter(([, { cost }]) => cost.statements === 0 && cost.passwords === 0);
  const unmeasured = Object.keys(RULES).filter(
    (method) => !(method in meter.measured) && !elsewhere.test(method) && !none.some(([name]) => name === method),
  );
  expect(unmeasured).toEqual([]);
  expect(new Set(none.map(([method]) => method.split('/')[1]))).toEqual(
    new Set([
      'grpc.health.v1.Health',
      'licensing.v1.AttestorService',
      'licensing.v1.EnclaveService',
      'licensing.v1.LauncherService',
      'licensing.v1.SessionService',
      // Answers from memory.
      'licensing.v1.AccountService',
      'licensing.v1.LoginService',
      'licensing.v1.TrustService',
    ]),
  );
});
