import { Metadata, status } from '@grpc/grpc-js';
import { createAuthority } from '../../../licensing/authority/authority';
import { callUnary } from '../../../runtime/rpc/client';
import type { RpcError } from '../../../runtime/rpc/errors';
import type { Database } from '../../../licensing/store/database';
import type { Enclave, LaunchOptions } from '../../../functions/login/launcher/launcher';
import type { LoginResult } from '../../../proto/gen/licensing/v1/login';
import { recordsOf } from '../../support/audit';
import { beginSession, writeAccountFiles } from '../../support/accounts';
import type { AccountFiles } from '../../support/accounts';
import { testDatabase } from '../../support/postgres';
import { startEnclaveEndpoint } from '../../support/enclave-endpoint';
import { giveLicence, insertLicence, keyOf } from '../../support/licences';
import type { LicenceChoices } from '../../support/licences';
import { byToken, logIn, loginRequest, newClientKey } from '../../support/login-client';
import type { ClientKey } from '../../support/login-client';
import { startReplica } from '../../support/replica';
import type { Replica } from '../../support/replica';
import type { EnclaveId } from '../../../attestation/evidence/enclave-name';
import type { CertifiedKey } from '../../../runtime/keys/key-pair';

const RUNS = `sha256:${'1'.repeat(64)}`;
const OTHER = `sha256:${'2'.repeat(64)}`;

let postgres: { url: string; stop(): Promise<void> };
let files: AccountFiles;
let clientCa: CertifiedKey;
let key: ClientKey;
/** One that lets in whoever has an account, one that wants a licence, and one that knows beforehand which image it starts. */
let open: Replica;
let strict: Replica;
let knowing: Replica;
let database: Database;
const enclaves = new Map<string, Enclave>();
const plans: Array<LaunchOptions['plan']> = [];
let launches = 0;
let discarded = 0;
let count = 0;
const stops: Array<() => Promise<void>> = [];

beforeAll(async () => {
  postgres = await testDatabase();
  files = await writeAccountFiles(postgres.url);
  clientCa = await createAuthority({ commonName: 'client CA', trustDomain: 'sls.test', years: 1 });
  key = await newClientKey();
  const unused = (): Promise<never> => Promise.reject(new Error('not reached'));
  const launcher = {
    ensure({ user }: EnclaveId, { plan }: LaunchOptions): Promise<Enclave> {
      launches += 1;
      plans.push(plan);
      return Promise.resolve(enclaves.get(user) as Enclave);
    },
    discard: () => Promise.resolve(void (discarded += 1)),
  };
  open = await startReplica(files, clientCa, unused, { launcher });
  strict = await startReplica(files, clientCa, unused, { launcher, licenceRequired: true });
  knowing = await startReplica(files, clientCa, unused, { launcher: { ...launcher, image: RUNS } });
  ({ database } = open.backend);
});
afterAll(async () => {
  await Promise.all([open, strict, knowing].map((replica) => replica.stop()));
  await Promise.all(stops.map((stop) => stop()));
  await files.remove();
  await postgres.stop();
});
beforeEach(() => {
  [launches, discarded] = [0, 0];
  plans.length = 0;
});

async function person(...licences: LicenceChoices[]): Promise<{ user: string; token: string; licences: string[] }> {
  const user = (await open.backend.accounts.create(`person${(count += 1)}`, 'x'))!;
  const endpoint = await startEnclaveEndpoint({ user, clientCa: clientCa.certificate, claims: { imageDigest: RUNS } });
  stops.push(() => endpoint.stop());
  enclaves.set(user, endpoint.location);
  const ids: string[] = [];
  for (const choices of licences) {
    const licence = await insertLicence(database, choices);
    await giveLicence(database, licence, user);
    ids.push(licence);
  }
  return { user, token: (await beginSession(open.backend, user)).accessToken, licences: ids };
}

async function login(replica: Replica, token: string): Promise<LoginResult> {
  return (await logIn(replica.login, loginRequest(key, byToken(token)))).result;
}

async function refusal(replica: Replica, token: string): Promise<{ code: string; message: string }> {
  const error = await login(replica, token).then(
    () => undefined,
    (refused: RpcError) => refused,
  );
  if (!error) throw new Error('expected a refusal, got a login');
  return { code: `${error.code} ${status[error.grpcStatus]}`, message: error.message };
}

async function refusalsOf(user: string): Promise<object[]> {
  const records = await recordsOf(database);
  return records
    .filter(({ kind, detail }) => kind === 'licence.refused' && detail['user'] === user)
    .map(({ detail: { licence, code } }) => ({ licence, code }));
}

test('who is refused again and again is refused each time, and fills no record', async () => {
  const { user, token } = await person();
  for (let turn = 0; turn < 25; turn += 1)
    expect((await refusal(strict, token)).code).toBe('licence.required FAILED_PRECONDITION');
  expect(await refusalsOf(user)).toHaveLength(20);
});

test('without a licence a login works where none is required, and is refused where one is', async () => {
  const { user, token } = await person();
  expect((await login(open, token)).licence).toBeUndefined();
  launches = 0;
  expect(await refusal(strict, token)).toEqual({
    code: 'licence.required FAILED_PRECONDITION',
    message: 'a licence is needed here, and your account has none',
  });
  expect(launches).toBe(0);
  expect(await refusalsOf(user)).toEqual([{ code: 'licence.required' }]);
});

test('with one it works on both, and says until when', async () => {
  const { token, licences } = await person({ untilSeconds: 3600, graceSeconds: 7200 });
  for (const replica of [open, strict]) {
    const { licence } = await login(replica, token);
    expect(licence).toMatchObject({ licence: licences[0], plan: 'team' });
    expect(Number(licence!.until)).toBeGreaterThan(Date.now() / 1000 + 3500);
    expect(licence!.graceUntil - licence!.until).toBe(7200n);
  }
});

test('in its grace days a login works, and says that it is over', async () => {
  const { user, token } = await person({ untilSeconds: -60, graceSeconds: 3600 });
  const { licence } = await login(strict, token);
  expect(Number(licence!.until)).toBeLessThan(Date.now() / 1000);
  expect(Number(licence!.graceUntil)).toBeGreaterThan(Date.now() / 1000);
  expect(await refusalsOf(user)).toEqual([]);
});

test('after its grace days it is refused, whether one is required or not, by name and date', async () => {
  const { user, token, licences } = await person({ untilSeconds: -7200, graceSeconds: 3600 });
  for (const replica of [open, strict]) {
    const { code, message } = await refusal(replica, token);
    expect(code).toBe('licence.expired FAILED_PRECONDITION');
    expect(message).toMatch(new RegExp(`^your licence ${licences[0]} \\(team\\) expired at 20`));
  }
  expect(launches).toBe(0);
  expect(await refusalsOf(user)).toEqual(Array(2).fill({ licence: licences[0], code: 'licence.expired' }));
});

test('a revoked one is refused, and so is nobody else', async () => {
  const [mine, theirs] = [await person({}), await person({})];
  await database.query(
    `UPDATE licences SET revoked_at = now(), revoked_by = 'ada', revoked_reason = 'unpaid' WHERE id = $1`,
    [mine.licences[0]!],
  );
  for (const replica of [open, strict])
    expect((await refusal(replica, mine.token)).code).toBe('licence.revoked FAILED_PRECONDITION');
  expect(await refusalsOf(mine.user)).toHaveLength(2);
  expect((await login(strict, theirs.token)).licence).toBeDefined();
});

test('what runs goes on when the licence ends: its enclave is asked for evidence as before, and nothing is discarded', async () => {
  const { token, licences, user } = await person({});
  await login(open, token);
  await database.query(
    `UPDATE licences SET valid_until = now() - interval '2 days', grace_until = now() - interval '1 day' WHERE id = $1`,
    [licences[0]!],
  );
  expect((await refusal(open, token)).code).toBe('licence.expired FAILED_PRECONDITION');
  expect(discarded).toBe(0);
  // The session and its refresh token live on: they are what the next licence is redeemed by.
  const [row] = await database.query<{ ended: boolean }>(
    'SELECT revoked_at IS NOT NULL AS ended FROM sessions WHERE user_id = $1',
    [user],
  );
  expect(row).toEqual({ ended: false });
});

test('another licence, or giving the old one back, opens the door again', async () => {
  const { token, licences } = await person({ untilSeconds: -10 });
  const metadata = new Metadata();
  metadata.set('authorization', `Bearer ${token}`);
  expect((await refusal(strict, token)).code).toContain('licence.expired');
  const fresh = await insertLicence(database);
  await callUnary(
    strict.licences,
    strict.licences.redeemLicence,
    { key: await keyOf(fresh), password: undefined, oneTimeCode: '' },
    { timeout: 120_000, metadata },
  );
  expect((await login(strict, token)).licence?.licence).toBe(fresh);
  for (const licence of [fresh, licences[0]!])
    await callUnary(
      open.licences,
      open.licences.dropLicence,
      { licence, password: undefined, oneTimeCode: '' },
      { timeout: 120_000, metadata },
    );
  expect((await login(open, token)).licence).toBeUndefined();
  expect((await refusal(strict, token)).code).toContain('licence.required');
});

describe('the images of a plan', () => {
  test('let an enclave in that runs one of them, by its evidence', async () => {
    const { token } = await person({ plan: { images: [OTHER, RUNS] } });
    for (const replica of [open, knowing]) expect((await login(replica, token)).licence).toBeDefined();
  });

  test('keep one out that runs another, with one start and none discarded: the next would be no better', async () => {
    const { user, token, licences } = await person({ plan: { images: [OTHER] } });
    const { code, message } = await refusal(open, token);
    expect(code).toBe('licence.image FAILED_PRECONDITION');
    expect(message).toContain(RUNS);
    expect({ launches, discarded }).toEqual({ launches: 1, discarded: 0 });
    expect(await refusalsOf(user)).toEqual([{ licence: licences[0], code: 'licence.image' }]);
  });

  test('are looked at before anything is started, where the launcher knows its image', async () => {
    const { token } = await person({ plan: { images: [OTHER] } });
    expect((await refusal(knowing, token)).code).toBe('licence.image FAILED_PRECONDITION');
    expect(launches).toBe(0);
  });
});

test('CPU and memory of a plan reach the launcher', async () => {
  await login(open, (await person({ plan: { cpu: '500m', memory: '2Gi' } })).token);
  await login(open, (await person()).token);
  expect(plans).toEqual([expect.objectContaining({ cpu: '500m', memory: '2Gi' }), undefined]);
});
