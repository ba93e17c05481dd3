import { randomBytes, randomUUID } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { credentials } from '@grpc/grpc-js';
import type { ServiceDefinition } from '@grpc/grpc-js';
import { enrolAttestationKey } from '../../../attestor-daemon/enrolment';
import { ensureAttestationKey } from '../../../attestor-daemon/tpm/attestation-key';
import { TpmTools } from '../../../attestor-daemon/tpm/tools';
import { makePool } from '../../../attestation/certificates/complete-chain';
import { Accounts } from '../../../licensing/accounts/accounts';
import { issueAdminCertificate } from '../../../licensing/authority/admin';
import { createAuthority } from '../../../licensing/authority/authority';
import { markOrphans } from '../../../licensing/enclaves/orphans';
import { openDatabase } from '../../../licensing/store/database';
import type { Database } from '../../../licensing/store/database';
import { generateTokenKeys, readTokenKeys } from '../../../licensing/tokens/keys';
import { systemClock } from '../../../runtime/clock';
import type { CertifiedKey } from '../../../runtime/keys/key-pair';
import { callUnary } from '../../../runtime/rpc/client';
import type { Implementation } from '../../../runtime/rpc/handlers';
import { startServer } from '../../../runtime/rpc/server';
import { adminService } from '../../../functions/admin/service';
import { enrolService } from '../../../functions/enrol/service';
import { recordEnrolment } from '../../../functions/enrol/nodes';
import { AdminServiceClient, AdminServiceService } from '../../../proto/gen/licensing/v1/admin';
import { EnrolServiceClient, EnrolServiceService } from '../../../proto/gen/licensing/v1/enrol';
import { openTestLog, writeRecords } from '../../support/audit';
import { proofFor } from '../../support/admin';
import type { AdminMethod } from '../../support/admin';
import { CostMeter } from '../../support/cost';
import { giveLicence, insertLicence } from '../../support/licences';
import { startNodeTpm } from '../../support/node-tpm';
import { testDatabase } from '../../support/postgres';

const trustDomain = 'sls.test';
const meter = new CostMeter([AdminServiceService, EnrolServiceService]);

let postgres: { url: string; stop(): Promise<void> };
let database: Database;
let folder: string;
const stops: Array<() => Promise<unknown>> = [];
beforeAll(async () => {
  postgres = await testDatabase();
  database = openDatabase(postgres.url, { poolSize: 4 });
  folder = await mkdtemp(join(tmpdir(), 'sls-cost-'));
});
afterAll(async () => {
  for (const stop of stops.reverse()) await stop();
  await database.close();
  await postgres.stop();
  await rm(folder, { recursive: true });
});

async function serve(definition: ServiceDefinition, implementation: Implementation): Promise<number> {
  const { port, stop } = await startServer({
    address: { scheme: 'http', host: '127.0.0.1', port: 0 },
    interceptors: [meter.interceptor],
    services: [{ definition, implementation }],
  });
  stops.push(() => stop(0));
  return port;
}

describe('no call costs more than its rule says', () => {
  test("of an administrator's", async () => {
    const authority = await createAuthority({ commonName: 'Administration CA', trustDomain, years: 1 });
    const ada: CertifiedKey = await issueAdminCertificate(authority, { name: 'ada', trustDomain });
    const licenceKeys = await readTokenKeys(await generateTokenKeys());
    const log = openTestLog(database, { trustDomain });
    stops.push(() => Promise.resolve(log.close()));
    const port = await serve(
      AdminServiceService,
      adminService({
        database,
        clock: systemClock,
        log,
        enclaves: { end: () => Promise.resolve(), remove: () => Promise.resolve() },
        trustDomain,
        licenceKeys: () => Promise.resolve(licenceKeys),
        rootsPem: () => Promise.resolve(authority.certificate),
      }) as Implementation,
    );
    const client = new AdminServiceClient(`127.0.0.1:${port}`, credentials.createInsecure());
    stops.push(() => Promise.resolve(client.close()));
    const admin = async <Response>(
      name: Exclude<AdminMethod, 'tailAudit' | 'readAuditLog'>,
      request: object = {},
    ): Promise<Response> =>
      callUnary(client, client[name] as never, request as never, {
        timeout: 120_000,
        metadata: await proofFor(ada, name, request),
      });
    const count = async (messages: AsyncIterable<unknown>): Promise<number> => {
      let all = 0;
      for await (const message of messages) if (message !== undefined) all += 1;
      return all;
    };
    const reason = 'for a test';

    const [ekSha256, akSha256] = ['11'.repeat(32), 'a1'.repeat(32)];
    const exp = Math.floor(Date.now() / 1000) + 300;
    const tpm = { manufacturer: 'TEST', model: 'm', firmware: '1', software: true };
    await recordEnrolment(database, { jti: randomUUID(), exp, node: 'node-a', ekSha256, akSha256, tpm });
    await admin('listNodes');
    await admin('approveNode', { node: 'node-a', ekSha256: '22'.repeat(32), reason });

    const accounts = new Accounts(database);
    const users = await Promise.all(['bob', 'cyd'].map(async (name) => (await accounts.create(name, 'x'))!));
    for (const subject of [
      { $case: 'user', value: users[0]! },
      { $case: 'node', value: 'node-a' },
      { $case: 'endorsementKey', value: ekSha256 },
      { $case: 'attestationKey', value: akSha256 },
    ].map((subject) => ({ subject }))) {
      await admin('revoke', { subject, username: '', reason });
      await admin('listRevocations');
      await admin('restore', { subject, username: '', reason });
    }
    await admin('revoke', { subject: undefined, username: 'cyd', reason });
    await admin('resetSecondFactor', { user: '', username: 'bob', reason });

    await markOrphans(
      database,
      Array.from({ length: 50 }, (_, i) => ({
        kind: 'Service' as const,
        object: `enclave-${i}`,
        user: randomUUID(),
        enclave: 'lab',
        uid: randomUUID(),
      })),
      new Date(),
    );
    await admin('listOrphans');
    await admin('permitOrphans', { objects: 50, reason });

    const plan = { name: 'team', images: [], enclaves: 2, seats: 3, cpu: '', memory: '' };
    const until = BigInt(Math.floor(Date.now() / 1000) + 86_400);
    await admin('issueLicence', { plan, until, graceDays: 1, accounts: 3, reason });
    const licence = await insertLicence(database, { accounts: 2 });
    for (const user of users) await giveLicence(database, licence, user);
    await admin('listLicences', { after: '' });
    await admin('reportLicences', { licence: '', after: '' });
    await admin('reportLicences', { licence, after: '' });
    await admin('revokeLicence', { licence, reason });
    await admin('deleteUser', { user: users[0]!, username: '', reason });
    await admin('deleteUser', { user: '', username: 'cyd', reason });

    await writeRecords(database, 300);
    await admin('getAuditTreeHead');
    // Each reads page by page for as long as it is listened to.
    const tail = { follow: false };
    expect(await count(client.tailAudit(tail, await proofFor(ada, 'tailAudit', tail)))).toBeGreaterThan(300);
    const whole = { size: 300n };
    expect(await count(client.readAuditLog(whole, await proofFor(ada, 'readAuditLog', whole)))).toBe(300);
  });

  test("of an attestor's", async () => {
    const node = await startNodeTpm({ caFolder: join(folder, 'maker') });
    stops.push(() => node.stop());
    const tools = await TpmTools.open(node.tcti, join(node.folder, 'tools'));
    stops.push(() => tools.close());
    const ak = await ensureAttestationKey(tools, { handle: '0x81010010', stateDir: join(node.folder, 'attestor') });
    const ca = await createAuthority({ commonName: 'attestation', trustDomain, years: 1 });
    const port = await serve(
      EnrolServiceService,
      enrolService({
        database,
        authority: () => Promise.resolve(ca),
        trust: { roots: node.caCertificates, intermediates: makePool([]), hashes: new Map() },
        sealKey: randomBytes(32),
        trustDomain,
        certificateDays: 7,
        clock: systemClock,
      }) as Implementation,
    );
    const client = new EnrolServiceClient(`127.0.0.1:${port}`, credentials.createInsecure());
    stops.push(() => Promise.resolve(client.close()));
    expect(await enrolAttestationKey(tools, client, { ak, node: 'node-b' })).toHaveLength(1);
  });

  afterAll(() => {
    expect(meter.wrong).toEqual([]);
    expect(meter.unmeasured).toEqual([]);
  });
});
