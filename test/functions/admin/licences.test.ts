import { randomUUID } from 'node:crypto';
import { credentials, status } from '@grpc/grpc-js';
import type { JWK } from 'jose';
import { Accounts } from '../../../licensing/accounts/accounts';
import type { AuditRecord } from '../../../licensing/audit/audit';
import { createAuthority } from '../../../licensing/authority/authority';
import { verifyLicenceKey } from '../../../attestation/licences/key';
import { callUnary } from '../../../runtime/rpc/client';
import type { RpcError } from '../../../runtime/rpc/errors';
import { startServer } from '../../../runtime/rpc/server';
import type { RunningServer } from '../../../runtime/rpc/server';
import { openDatabase } from '../../../licensing/store/database';
import type { Database } from '../../../licensing/store/database';
import { generateTokenKeys, readTokenKeys } from '../../../licensing/tokens/keys';
import type { TokenKeys } from '../../../licensing/tokens/keys';
import { adminService } from '../../../functions/admin/service';
import { AdminServiceClient, AdminServiceService } from '../../../proto/gen/licensing/v1/admin';
import type {
  IssueLicenceRequest,
  IssueLicenceResponse,
  ListLicencesResponse,
  ReportLicencesResponse,
} from '../../../proto/gen/licensing/v1/admin';
import { LicenceState } from '../../../proto/gen/licensing/v1/licence';
import { openTestLog, recordsOf } from '../../support/audit';
import { proofFor } from '../../support/admin';
import type { AdminMethod } from '../../support/admin';
import { testDatabase } from '../../support/postgres';
import { giveLicence, insertLicence } from '../../support/licences';
import { issueAdminCertificate } from '../../../licensing/authority/admin';
import type { CertifiedKey } from '../../../runtime/keys/key-pair';
import { systemClock } from '../../../runtime/clock';

const trustDomain = 'sls.test';
const YEAR = 365 * 86_400;

let postgres: { url: string; stop(): Promise<void> };
let database: Database;
let ada: CertifiedKey;
let keys: TokenKeys;
const servers: RunningServer[] = [];
let client: AdminServiceClient;
let keyless: AdminServiceClient;

beforeAll(async () => {
  postgres = await testDatabase();
  database = openDatabase(postgres.url, { poolSize: 4 });
  const authority = await createAuthority({ commonName: 'Administration CA', trustDomain, years: 1 });
  ada = await issueAdminCertificate(authority, { name: 'ada', trustDomain });
  keys = await readTokenKeys(await generateTokenKeys());
  const unused = (): Promise<never> => Promise.reject(new Error('no test here ends an enclave'));
  const enclaves = { end: unused, remove: unused };
  const serve = async (licenceKeys?: () => Promise<TokenKeys>): Promise<AdminServiceClient> => {
    const implementation = adminService({
      database,
      clock: systemClock,
      log: openTestLog(database, { trustDomain }),
      enclaves,
      trustDomain,
      licenceKeys,
      rootsPem: () => Promise.resolve(authority.certificate),
    });
    const server = await startServer({
      address: { scheme: 'http', host: '127.0.0.1', port: 0 },
      services: [{ definition: AdminServiceService, implementation }],
    });
    servers.push(server);
    return new AdminServiceClient(`127.0.0.1:${server.port}`, credentials.createInsecure());
  };
  client = await serve(() => Promise.resolve(keys));
  keyless = await serve();
});
afterAll(async () => {
  for (const each of [client, keyless]) each.close();
  await Promise.all(servers.map((server) => server.stop(0)));
  await database.close();
  await postgres.stop();
});

async function admin<Response>(
  name: Exclude<AdminMethod, 'tailAudit'>,
  request: object,
  on = client,
): Promise<Response> {
  return callUnary(on, on[name] as never, request as never, {
    timeout: 120_000,
    metadata: await proofFor(ada, name, request),
  });
}

const now = (): number => Math.floor(Date.now() / 1000);
const wish = (change: Partial<IssueLicenceRequest> = {}): IssueLicenceRequest => ({
  plan: { name: 'team', images: [], enclaves: 2, seats: 3, cpu: '', memory: '' },
  until: BigInt(now() + YEAR),
  graceDays: 14,
  accounts: 1,
  reason: 'order 7',
  ...change,
});
const issue = (change?: Partial<IssueLicenceRequest>): Promise<IssueLicenceResponse> =>
  admin('issueLicence', wish(change));
const records = async (): Promise<AuditRecord[]> => recordsOf(database);

test('an issued licence has a key that anyone can verify offline, and is recorded without it', async () => {
  const image = `sha256:${'a'.repeat(64)}`;
  const request = wish({
    plan: { name: 'lab 1', images: [image], enclaves: 2, seats: 3, cpu: '1.5', memory: '2Gi' },
    accounts: 4,
  });
  const { licence, key } = await admin<IssueLicenceResponse>('issueLicence', request);
  const published = (JSON.parse(keys.jwks) as { keys: JWK[] }).keys;
  const plan = { name: 'lab 1', images: [image], enclaves: 2, seats: 3, cpu: '1.5', memory: '2Gi' };
  const until = new Date(Number(request.until) * 1000);
  expect(await verifyLicenceKey(published, key, { trustDomain, now: new Date() })).toEqual({
    licence,
    plan,
    until,
    graceDays: 14,
    accounts: 4,
  });
  const last = (await records()).at(-1)!;
  expect(last).toMatchObject({
    kind: 'admin.issue_licence',
    detail: {
      administrator: 'ada',
      subject: `licence/${licence}`,
      plan,
      until: until.toISOString(),
      graceDays: 14,
      accounts: 4,
      reason: 'order 7',
    },
  });
  const everything = JSON.stringify(
    [await records(), await database.query('SELECT * FROM licences')],
    (_, value: unknown) => (typeof value === 'bigint' ? String(value) : value),
  );
  expect(everything).not.toContain(key.split('.')[2]);
});

test('the list says of each how it stands', async () => {
  const { licence } = await issue();
  const grace = await insertLicence(database, { untilSeconds: -10, graceSeconds: 100 });
  const expired = await insertLicence(database, { untilSeconds: -10 });
  const { licences } = await admin<ListLicencesResponse>('listLicences', { after: '' });
  const of = (id: string) => licences.find((each) => each.licence === id);
  expect(of(licence)).toMatchObject({
    plan: { name: 'team', enclaves: 2, seats: 3 },
    issuedBy: 'ada',
    reason: 'order 7',
    accounts: 1,
    redeemed: 0,
    state: LicenceState.LICENCE_STATE_VALID,
  });
  expect(of(licence)!.graceUntil - of(licence)!.until).toBe(14n * 86_400n);
  expect([of(grace)!.state, of(expired)!.state]).toEqual([
    LicenceState.LICENCE_STATE_GRACE,
    LicenceState.LICENCE_STATE_EXPIRED,
  ]);
});

test('a revoked one is so for good, with the first reason, and recorded once', async () => {
  const { licence } = await issue();
  expect(await admin('revokeLicence', { licence, reason: 'unpaid' })).toEqual({ changed: true });
  expect(await admin('revokeLicence', { licence, reason: 'again' })).toEqual({ changed: false });
  const { licences } = await admin<ListLicencesResponse>('listLicences', { after: '' });
  expect(licences.find((each) => each.licence === licence)).toMatchObject({
    state: LicenceState.LICENCE_STATE_REVOKED,
    revokedBy: 'ada',
    revokedReason: 'unpaid',
  });
  const of = (await records()).filter(
    ({ kind, detail }) => kind === 'admin.revoke_licence' && detail['subject'] === `licence/${licence}`,
  );
  expect(of.map(({ detail }) => detail)).toEqual([
    { administrator: 'ada', subject: `licence/${licence}`, reason: 'unpaid' },
  ]);
});

test('the report says who has a licence, of one or of all', async () => {
  const { licence } = await issue({ accounts: 5 });
  const { licence: other } = await issue();
  const accounts = new Accounts(database);
  const users = [(await accounts.create('grace', 'x'))!, (await accounts.create('edsger', 'x'))!];
  for (const user of users) await giveLicence(database, licence, user);
  const { reports } = await admin<ReportLicencesResponse>('reportLicences', { licence, after: '' });
  expect(reports).toMatchObject([{ licence: { licence, accounts: 5, redeemed: 2 }, seatsInUse: 0 }]);
  expect(new Map(reports[0]!.redemptions.map(({ user, username }) => [user, username]))).toEqual(
    new Map([
      [users[0], 'grace'],
      [users[1], 'edsger'],
    ]),
  );
  const all = (await admin<ReportLicencesResponse>('reportLicences', { licence: '', after: '' })).reports;
  expect(all.find((report) => report.licence!.licence === other)).toMatchObject({ redemptions: [] });
  expect(all.find((report) => report.licence!.licence === licence)!.redemptions).toHaveLength(2);
});

const plan = (change: object): Partial<IssueLicenceRequest> => ({ plan: { ...wish().plan!, ...change } });
test.each([
  ['no plan', { plan: undefined }, 'admin.licence_plan'],
  ['a plan without a name', plan({ name: '' }), 'admin.licence_plan'],
  ['a plan whose name steers a terminal', plan({ name: 'a\u001b[2J' }), 'admin.licence_plan'],
  ['no seats', plan({ seats: 0 }), 'admin.licence_plan'],
  ['no enclaves', plan({ enclaves: 0 }), 'admin.licence_plan'],
  ['an image by tag', plan({ images: ['enclave:latest'] }), 'admin.licence_plan'],
  [
    'more images than a key can hold',
    plan({ images: Array(33).fill(`sha256:${'a'.repeat(64)}`) }),
    'admin.licence_plan',
  ],
  ['CPU that is none', plan({ cpu: '-1' }), 'admin.licence_plan'],
  ['memory that is none', plan({ memory: 'lots' }), 'admin.licence_plan'],
  ['an end that is past', { until: BigInt(1) }, 'admin.licence_until'],
  ['no end', { until: 0n }, 'admin.licence_until'],
  ['an end beyond ten years', { until: BigInt(now() + 11 * YEAR) }, 'admin.licence_until'],
  ['an end that no calendar has', { until: 2n ** 62n }, 'admin.licence_until'],
  ['grace without end', { graceDays: 366 }, 'admin.licence_grace'],
  ['no accounts', { accounts: 0 }, 'admin.licence_accounts'],
  ['accounts without end', { accounts: 1_000_001 }, 'admin.licence_accounts'],
  ['no reason', { reason: ' ' }, 'admin.reason'],
] as Array<[string, Partial<IssueLicenceRequest>, string]>)(
  'a licence with %s is not issued',
  async (_, change, code) => {
    const before = await database.query('SELECT id FROM licences');
    await expect(issue(change)).rejects.toMatchObject({ code, grpcStatus: status.INVALID_ARGUMENT });
    expect(await database.query('SELECT id FROM licences')).toEqual(before);
  },
);

test('where there is no licence key, none is issued, and nothing is written', async () => {
  const before = await database.query('SELECT id FROM licences');
  await expect(admin('issueLicence', wish(), keyless)).toRejectWithCode('admin.licence_keys_missing', {
    grpcStatus: status.FAILED_PRECONDITION,
  });
  expect(await database.query('SELECT id FROM licences')).toEqual(before);
});

test.each(['revokeLicence', 'reportLicences'] as const)('%s of a licence that is none is refused', async (method) => {
  const call = (licence: string): Promise<RpcError> =>
    admin(method, { licence, after: '', ...(method === 'revokeLicence' && { reason: 'x' }) }).then(
      () => new Error('done') as never,
      (error: RpcError) => error,
    );
  expect(await call(randomUUID())).toMatchObject({ code: 'admin.no_such_licence', grpcStatus: status.NOT_FOUND });
  expect(await call('../x')).toMatchObject({ code: 'admin.licence_id', grpcStatus: status.INVALID_ARGUMENT });
});

test('more than a page are listed whole and each once, and so are the accounts of one that many have', async () => {
  const accounts = new Accounts(database);
  const many = await insertLicence(database, { accounts: 300 });
  for (let index = 0; index < 250; index += 1)
    await giveLicence(database, many, (await accounts.create(`many${index}`, 'x'))!);
  for (let index = 0; index < 230; index += 1)
    await insertLicence(database, { plan: { images: Array(32).fill(`sha256:${'a'.repeat(64)}`) as string[] } });
  const pages = async <Page extends { next: string }>(
    name: 'listLicences' | 'reportLicences',
    request: object,
  ): Promise<Page[]> => {
    const found: Page[] = [];
    do found.push(await admin<Page>(name, { ...request, after: found.at(-1)?.next ?? '' }));
    while (found.at(-1)!.next !== '');
    return found;
  };
  const there = (await database.query<{ id: string }>('SELECT id FROM licences')).map(({ id }) => id).sort();
  const listed = await pages<ListLicencesResponse>('listLicences', {});
  expect(listed.length).toBeGreaterThan(1);
  expect(listed.flatMap(({ licences }) => licences.map(({ licence }) => licence)).sort()).toEqual(there);
  const all = (await pages<ReportLicencesResponse>('reportLicences', { licence: '' })).flatMap(
    ({ reports }) => reports,
  );
  expect([...new Set(all.map(({ licence }) => licence!.licence))].sort()).toEqual(there);
  for (const reports of [
    all,
    (await pages<ReportLicencesResponse>('reportLicences', { licence: many })).flatMap((page) => page.reports),
  ]) {
    const users = reports
      .filter(({ licence }) => licence!.licence === many)
      .flatMap(({ redemptions }) => redemptions.map(({ user }) => user));
    expect({ users: users.length, each: new Set(users).size }).toEqual({ users: 250, each: 250 });
  }
  for (const after of ['x', `${many}`, '../', `${many}/x`]) {
    await expect(admin('listLicences', { after })).toRejectWithCode('admin.licence_page', {
      grpcStatus: status.INVALID_ARGUMENT,
    });
  }
});
