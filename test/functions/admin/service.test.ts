import { randomUUID } from 'node:crypto';
import { credentials, status } from '@grpc/grpc-js';
import type { Metadata } from '@grpc/grpc-js';
import { Accounts } from '../../../licensing/accounts/accounts';
import { createAuthority } from '../../../licensing/authority/authority';
import { callUnary } from '../../../runtime/rpc/client';
import { startServer } from '../../../runtime/rpc/server';
import type { RunningServer } from '../../../runtime/rpc/server';
import { findOrphanPermit, markOrphans } from '../../../licensing/enclaves/orphans';
import { openDatabase } from '../../../licensing/store/database';
import type { Database } from '../../../licensing/store/database';
import { adminService } from '../../../functions/admin/service';
import { recordEnrolment } from '../../../functions/enrol/nodes';
import { AdminServiceClient, AdminServiceService } from '../../../proto/gen/licensing/v1/admin';
import type { RevokeRequest, TailAuditResponse } from '../../../proto/gen/licensing/v1/admin';
import { openTestLog } from '../../support/audit';
import { proofFor } from '../../support/admin';
import type { AdminMethod } from '../../support/admin';
import { testDatabase } from '../../support/postgres';
import { issueAdminCertificate } from '../../../licensing/authority/admin';
import type { CertifiedKey } from '../../../runtime/keys/key-pair';
import { systemClock } from '../../../runtime/clock';

const trustDomain = 'sls.test';
const [EK_1, EK_2, AK_1, AK_2] = ['11', '22', 'a1', 'a2'].map((byte) => byte.repeat(32)) as [
  string,
  string,
  string,
  string,
];

let postgres: { url: string; stop(): Promise<void> };
let database: Database;
let ada: CertifiedKey;
let server: RunningServer;
let client: AdminServiceClient;
let ended: string[];
let removed: string[] = [];
let endFails = false;

beforeAll(async () => {
  postgres = await testDatabase();
  database = openDatabase(postgres.url, { poolSize: 4 });
  const authority = await createAuthority({ commonName: 'Administration CA', trustDomain, years: 1 });
  ada = await issueAdminCertificate(authority, { name: 'ada', trustDomain });
  const enclaves = {
    end(user: string): Promise<void> {
      if (endFails) return Promise.reject(new Error('the launcher at 10.0.0.1 is away'));
      ended.push(user);
      return Promise.resolve();
    },
    remove(user: string): Promise<void> {
      if (endFails) return Promise.reject(new Error('the launcher at 10.0.0.1 is away'));
      removed.push(user);
      return Promise.resolve();
    },
  };
  const implementation = adminService({
    database,
    clock: systemClock,
    log: openTestLog(database),
    enclaves,
    trustDomain,
    rootsPem: () => Promise.resolve(authority.certificate),
  });
  server = await startServer({
    address: { scheme: 'http', host: '127.0.0.1', port: 0 },
    services: [{ definition: AdminServiceService, implementation }],
  });
  client = new AdminServiceClient(`127.0.0.1:${server.port}`, credentials.createInsecure());
});
afterAll(async () => {
  client.close();
  await server.stop(0);
  await database.close();
  await postgres.stop();
});
beforeEach(() => {
  ended = [];
  removed = [];
  endFails = false;
});

type Method<Request, Response> = (request: Request, metadata: Metadata, options: object, callback: never) => Response;

async function admin<Request, Response>(
  name: Exclude<AdminMethod, 'tailAudit' | 'readAuditLog'>,
  request: Request,
): Promise<Response> {
  const method = client[name] as unknown as Method<Request, never>;
  return callUnary(client, method as never, request, {
    timeout: 120_000,
    metadata: await proofFor(ada, name, request),
  });
}

async function audit(after?: bigint): Promise<Array<{ id: bigint; kind: string; detail: Record<string, unknown> }>> {
  const request = { after, follow: false };
  const call = client.tailAudit(request, await proofFor(ada, 'tailAudit', request));
  const records: TailAuditResponse[] = [];
  for await (const record of call) records.push(record as TailAuditResponse);
  return records.map(({ id, kind, detail }) => ({ id, kind, detail: JSON.parse(detail) as Record<string, unknown> }));
}
const lastAudit = async () => (await audit()).at(-1);

const enrol = (node: string, ekSha256: string, akSha256: string): Promise<void> =>
  recordEnrolment(database, {
    jti: randomUUID(),
    exp: Math.floor(Date.now() / 1000) + 300,
    node,
    ekSha256,
    akSha256,
    tpm: { manufacturer: 'TEST', model: 'm', firmware: '1', software: true },
  });

const of = (subject: RevokeRequest['subject'], reason = 'for a test'): RevokeRequest => ({
  subject,
  username: '',
  reason,
});
describe('orphans of the cluster', () => {
  test('are listed, and may go at once when an administrator names their number and a reason', async () => {
    const orphan = {
      kind: 'Service' as const,
      object: 'enclave-a',
      user: randomUUID(),
      enclave: 'lab',
      uid: randomUUID(),
    };
    await markOrphans(database, [orphan], new Date(1_700_000_000_000));
    expect(await admin('listOrphans', {})).toEqual({
      orphans: [{ kind: 'Service', object: 'enclave-a', user: orphan.user, since: 1_700_000_000n }],
    });
    await expect(admin('permitOrphans', { objects: 2, reason: 'gone' })).toRejectWithCode('admin.orphans_changed');
    await expect(admin('permitOrphans', { objects: 1, reason: '' })).toRejectWithCode('admin.reason');
    expect(await findOrphanPermit(database, new Date())).toBeUndefined();
    await admin('permitOrphans', { objects: 1, reason: 'gone' });
    expect(await findOrphanPermit(database, new Date())).toMatchObject({ objects: 1, administrator: 'ada' });
    expect(await lastAudit()).toMatchObject({
      kind: 'admin.permit_orphans',
      detail: { administrator: 'ada', objects: 1, reason: 'gone' },
    });
  });
});

const node = (value: string): RevokeRequest => of({ subject: { $case: 'node', value } });

describe('a node under whose name another TPM enrols (CVE-2025-13609)', () => {
  test('stays with the first TPM, until an administrator says so; each decision is recorded', async () => {
    await enrol('node-a', EK_1, AK_1);
    await expect(enrol('node-a', EK_2, AK_2)).toRejectWithCode('enrol.node_bound', {
      grpcStatus: status.PERMISSION_DENIED,
    });
    expect(await lastAudit()).toMatchObject({
      kind: 'enrol.node_bound',
      detail: { node: 'node-a', ekSha256: EK_2, boundTo: EK_1 },
    });

    expect(await admin('approveNode', { node: 'node-a', ekSha256: EK_2, reason: 'new mainboard' })).toEqual({
      previousEkSha256: EK_1,
    });
    expect(await lastAudit()).toMatchObject({
      kind: 'admin.approve_node',
      detail: {
        administrator: 'ada',
        subject: 'node/node-a',
        ekSha256: EK_2,
        previousEkSha256: EK_1,
        reason: 'new mainboard',
      },
    });

    await enrol('node-a', EK_2, AK_2);
    await expect(enrol('node-a', EK_1, AK_1)).toRejectWithCode('enrol.node_bound');
    const { nodes } = await admin<object, { nodes: object[] }>('listNodes', {});
    expect(nodes).toMatchObject([{ name: 'node-a', ekSha256: EK_2, akSha256: AK_2, revoked: false }]);
  });

  test('can be approved before it ever enrolled', async () => {
    expect(await admin('approveNode', { node: 'node-new', ekSha256: EK_1, reason: 'ordered' })).toEqual({
      previousEkSha256: '',
    });
    await expect(enrol('node-new', EK_2, AK_2)).toRejectWithCode('enrol.node_bound');
    await enrol('node-new', EK_1, AK_1);
  });
});

describe.each([
  ['node', node('node-r')],
  ['endorsement key', of({ subject: { $case: 'endorsementKey', value: 'e3'.repeat(32) } })],
  ['attestation key', of({ subject: { $case: 'attestationKey', value: 'a3'.repeat(32) } })],
] as Array<[string, RevokeRequest]>)('a revoked %s', (_, request) => {
  test('gets no certificate any more, until it is restored; each decision is recorded', async () => {
    const again = (): Promise<void> => enrol('node-r', 'e3'.repeat(32), 'a3'.repeat(32));
    await again();
    expect(await admin('revoke', request)).toMatchObject({ changed: true });
    expect(await lastAudit()).toMatchObject({
      kind: 'admin.revoke',
      detail: { administrator: 'ada', reason: 'for a test' },
    });
    await expect(again()).toRejectWithCode('enrol.revoked', { grpcStatus: status.PERMISSION_DENIED });
    expect(await lastAudit()).toMatchObject({ kind: 'enrol.revoked', detail: { node: 'node-r' } });
    const { nodes } = await admin<object, { nodes: Array<{ name: string; revoked: boolean }> }>('listNodes', {});
    expect(nodes.find(({ name }) => name === 'node-r')).toMatchObject({ revoked: true });

    expect(await admin('revoke', request)).toMatchObject({ changed: false });
    expect(await admin('restore', request)).toMatchObject({ changed: true });
    expect(await lastAudit()).toMatchObject({ kind: 'admin.restore', detail: { administrator: 'ada' } });
    await again();
  });
});

describe('a revoked user', () => {
  test('is named by username or id, and the enclave is ended', async () => {
    const id = (await new Accounts(database).create('carol', 'x'))!;
    const answer = await admin('revoke', { subject: undefined, username: 'Carol', reason: 'left' });
    expect(answer).toMatchObject({ changed: true, subject: { subject: { $case: 'user', value: id } } });
    expect(ended).toEqual([id]);
    expect(await admin('listRevocations', {})).toMatchObject({
      revocations: [{ subject: { subject: { value: id } }, revokedBy: 'ada', reason: 'left' }],
    });
    expect(await admin('restore', of({ subject: { $case: 'user', value: id } }))).toMatchObject({ changed: true });
  });

  test('whose enclave could not be ended stays revoked, and trying again ends it', async () => {
    const request = of({ subject: { $case: 'user', value: randomUUID() } });
    endFails = true;
    const refused = admin('revoke', request);
    await expect(refused).toRejectWithCode('admin.enclave_not_ended', { grpcStatus: status.UNAVAILABLE });
    await expect(refused).rejects.not.toThrow('10.0.0.1');
    endFails = false;
    expect(await admin('revoke', request)).toMatchObject({ changed: false });
    expect(ended).toHaveLength(1);
  });

  test('who does not exist is NOT_FOUND', async () => {
    await expect(admin('revoke', { subject: undefined, username: 'nobody', reason: 'x' })).toRejectWithCode(
      'admin.no_such_user',
    );
  });
});

test.each([
  ['no subject', { subject: undefined, username: '', reason: 'x' }, 'admin.subject'],
  ['two subjects', { ...node('a'), username: 'b' }, 'admin.subject'],
  ['no reason', { ...node('a'), reason: ' ' }, 'admin.reason'],
  ['a hash that is none', of({ subject: { $case: 'attestationKey', value: 'AA' } }), 'admin.sha256'],
  ['a user id that is none', of({ subject: { $case: 'user', value: '../x' } }), 'admin.user_id'],
  ['a node name that is none', node('a/b'), 'admin.node_name'],
] as Array<[string, RevokeRequest, string]>)('a revocation with %s is refused', async (_, request, code) => {
  await expect(admin('revoke', request)).rejects.toMatchObject({ code, grpcStatus: status.INVALID_ARGUMENT });
});

test('the audit is given in its order, also past the tenth record', async () => {
  const ids = (await audit()).map(({ id }) => id);
  expect(ids.length).toBeGreaterThan(10);
  expect(ids).toEqual([...ids].sort((a, b) => (a < b ? -1 : 1)));
});

test('who follows the audit gets what was decided, and what is decided next', async () => {
  const after = (await lastAudit())!.id;
  const request = { after, follow: true };
  const call = client.tailAudit(request, await proofFor(ada, 'tailAudit', request));
  call.on('error', () => undefined);
  const first = new Promise<TailAuditResponse>((resolve) => call.once('data', resolve));
  await admin('revoke', node('node-followed'));
  expect(await first).toMatchObject({ kind: 'admin.revoke' });
  call.cancel();
});
