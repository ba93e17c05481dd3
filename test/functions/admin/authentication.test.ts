import { credentials, Metadata, status } from '@grpc/grpc-js';
import type { MethodDefinition } from '@grpc/grpc-js';
import { createAuthority } from '../../../licensing/authority/authority';
import { issueServerCertificate } from '../../../licensing/authority/server';
import { REASON_KEY } from '../../../runtime/rpc/errors';
import { startServer } from '../../../runtime/rpc/server';
import type { RunningServer } from '../../../runtime/rpc/server';
import { openDatabase } from '../../../licensing/store/database';
import type { Database } from '../../../licensing/store/database';
import { ADMIN_PROOF_KEY } from '../../../attestation/tokens/admin-proof';
import { adminService } from '../../../functions/admin/service';
import { AdminServiceClient, AdminServiceService } from '../../../proto/gen/licensing/v1/admin';
import { openTestLog } from '../../support/audit';
import { proofFor } from '../../support/admin';
import type { AdminMethod } from '../../support/admin';
import { testDatabase } from '../../support/postgres';
import { makeSigningKey } from '../../support/trust';
import { issueAdminCertificate } from '../../../licensing/authority/admin';
import type { CertifiedKey } from '../../../runtime/keys/key-pair';
import { systemClock } from '../../../runtime/clock';
import { TestClock } from '../../support/clock';

const trustDomain = 'sls.test';
const logKey = makeSigningKey('log');
const METHODS = Object.keys(AdminServiceService) as AdminMethod[];

let postgres: { url: string; stop(): Promise<void> };
let database: Database;
let authority: CertifiedKey;
let ada: CertifiedKey;
const servers: RunningServer[] = [];
let client: AdminServiceClient;
let replica: AdminServiceClient;

async function serve(clock = systemClock): Promise<AdminServiceClient> {
  const implementation = adminService({
    database,
    clock,
    log: openTestLog(database, { key: logKey }),
    rootsPem: () => Promise.resolve(authority.certificate),
    trustDomain,
    enclaves: {
      end: () => Promise.reject(new Error('no test here ends an enclave')),
      remove: () => Promise.reject(new Error('nor removes one')),
    },
  });
  const server = await startServer({
    address: { scheme: 'http', host: '127.0.0.1', port: 0 },
    services: [{ definition: AdminServiceService, implementation }],
  });
  servers.push(server);
  return new AdminServiceClient(`127.0.0.1:${server.port}`, credentials.createInsecure());
}

beforeAll(async () => {
  postgres = await testDatabase();
  database = openDatabase(postgres.url, { poolSize: 4 });
  authority = await createAuthority({ commonName: 'Administration CA', trustDomain, years: 1 });
  ada = await issueAdminCertificate(authority, { name: 'ada', trustDomain });
  [client, replica] = [await serve(), await serve()];
});
afterAll(async () => {
  for (const each of [client, replica]) each.close();
  await Promise.all(servers.map((server) => server.stop(0)));
  await database.close();
  await postgres.stop();
});

interface Outcome {
  code: status;
  reason: string;
}

/** Calls any method, streams included, with the request's fields at their defaults. */
function call(on: AdminServiceClient, method: AdminMethod, metadata: Metadata, request: object = {}): Promise<Outcome> {
  const definition = AdminServiceService[method] as MethodDefinition<unknown, unknown>;
  const full = definition.requestDeserialize(definition.requestSerialize({ ...defaults(method), ...request }));
  return new Promise((resolve) => {
    const stream = on.makeServerStreamRequest(
      definition.path,
      definition.requestSerialize,
      definition.responseDeserialize,
      full,
      metadata,
      {
        deadline: Date.now() + 120_000,
      },
    );
    stream.on('data', () => undefined);
    stream.on('error', () => undefined);
    stream.on('status', ({ code, metadata: trailers }) =>
      resolve({ code, reason: String(trailers.get(REASON_KEY)[0] ?? '') }),
    );
  });
}

function defaults(method: AdminMethod): object {
  const definition = AdminServiceService[method] as MethodDefinition<unknown, object>;
  return definition.requestDeserialize(Buffer.alloc(0)) as object;
}

const unauthenticated = (reason: string): Outcome => ({ code: status.UNAUTHENTICATED, reason });

test('the definition has methods to test', () => {
  expect(METHODS.length).toBeGreaterThanOrEqual(6);
});

describe.each(METHODS)('%s', (method) => {
  const proof = (administrator = ada, options = {}) => proofFor(administrator, method, defaults(method), options);

  test('without a credential is UNAUTHENTICATED', async () => {
    expect(await call(client, method, new Metadata())).toEqual(unauthenticated('admin.proof_missing'));
  });

  test('by an administrator gets past authentication', async () => {
    expect((await call(client, method, await proof())).code).not.toBe(status.UNAUTHENTICATED);
  });

  test('by a certificate of another CA is refused, even one of the same name', async () => {
    const other = await createAuthority({ commonName: 'Administration CA', trustDomain, years: 1 });
    expect(
      await call(client, method, await proof(await issueAdminCertificate(other, { name: 'ada', trustDomain }))),
    ).toEqual(unauthenticated('admin.certificate'));
  });

  test('with a proof that was used before is refused, on this replica and on another', async () => {
    const metadata = await proof();
    await call(client, method, metadata);
    expect(await call(client, method, metadata)).toEqual(unauthenticated('admin.proof_replayed'));
    expect(await call(replica, method, metadata)).toEqual(unauthenticated('admin.proof_replayed'));
  });

  test('with a proof for another method is refused', async () => {
    const another = METHODS.find((name) => name !== method)!;
    expect(await call(client, method, await proof(ada, { method: another }))).toEqual(
      unauthenticated('admin.proof_method'),
    );
  });

  test.each([61, -61])('with a proof made %i seconds from now is refused', async (seconds) => {
    const metadata = await proof(ada, { now: new Date(Date.now() + seconds * 1000) });
    expect(await call(client, method, metadata)).toEqual(unauthenticated('admin.proof_time'));
  });
});

describe('a proof is refused', () => {
  test('when the request is another than was signed', async () => {
    const metadata = await proofFor(ada, 'revoke', {
      subject: { subject: { $case: 'node', value: 'node-a' } },
      username: '',
      reason: 'x',
    });
    const request = { subject: { subject: { $case: 'node', value: 'node-b' } }, username: '', reason: 'x' };
    expect(await call(client, 'revoke', metadata, request)).toEqual(unauthenticated('admin.proof_request'));
    expect(await database.query('SELECT 1 FROM revocations')).toEqual([]);
  });

  test('when its certificate has ended', async () => {
    const old = new Date(Date.now() - 100 * 86_400_000);
    const ended = await issueAdminCertificate(authority, { name: 'ada', trustDomain, days: 90, now: old });
    expect(await call(client, 'listNodes', await proofFor(ended, 'listNodes', {}))).toEqual(
      unauthenticated('admin.certificate'),
    );
  });

  test('when its certificate is of another trust domain, or it is for another installation', async () => {
    const foreign = await issueAdminCertificate(authority, { name: 'ada', trustDomain: 'other.test' });
    expect(await call(client, 'listNodes', await proofFor(foreign, 'listNodes', {}))).toEqual(
      unauthenticated('admin.certificate'),
    );
    expect(
      await call(client, 'listNodes', await proofFor(ada, 'listNodes', {}, { trustDomain: 'other.test' })),
    ).toEqual(unauthenticated('admin.proof_audience'));
  });

  test('when its certificate is for something else, though by the admin CA', async () => {
    const server = await issueServerCertificate(authority, { hosts: ['localhost'] });
    expect(await call(client, 'listNodes', await proofFor(server, 'listNodes', {}))).toEqual(
      unauthenticated('admin.certificate'),
    );
  });

  test('when the admin CA itself signs it', async () => {
    expect(await call(client, 'listNodes', await proofFor(authority, 'listNodes', {}))).toEqual(
      unauthenticated('admin.certificate'),
    );
  });

  test("when another key than its certificate's signed it", async () => {
    const eve = await issueAdminCertificate(await createAuthority({ commonName: 'x', trustDomain, years: 1 }), {
      name: 'eve',
      trustDomain,
    });
    const mixed = { certificate: ada.certificate, privateKey: eve.privateKey };
    expect(await call(client, 'listNodes', await proofFor(mixed, 'listNodes', {}))).toEqual(
      unauthenticated('admin.proof_signature'),
    );
  });

  test('without a signature: alg none', async () => {
    const [header, payload] = String((await proofFor(ada, 'listNodes', {})).get(ADMIN_PROOF_KEY)[0]).split('.');
    const none = { ...(JSON.parse(Buffer.from(header!, 'base64url').toString()) as object), alg: 'none' };
    const metadata = new Metadata();
    metadata.set(ADMIN_PROOF_KEY, `${Buffer.from(JSON.stringify(none)).toString('base64url')}.${payload}.`);
    expect(await call(client, 'listNodes', metadata)).toEqual(unauthenticated('admin.proof_type'));
  });

  test.each(['x', 'a.b.c', 'Bearer token'])('when it is none: %s', async (text) => {
    const metadata = new Metadata();
    metadata.set(ADMIN_PROOF_KEY, text);
    expect((await call(client, 'listNodes', metadata)).code).toBe(status.UNAUTHENTICATED);
  });

  test('when there are two: each reader could take another one', async () => {
    const metadata = await proofFor(ada, 'listNodes', {});
    metadata.add(ADMIN_PROOF_KEY, String((await proofFor(ada, 'listNodes', {})).get(ADMIN_PROOF_KEY)[0]));
    expect((await call(client, 'listNodes', metadata)).code).toBe(status.UNAUTHENTICATED);
  });

  test('the second time, when both are shown at once', async () => {
    const metadata = await proofFor(ada, 'listNodes', {});
    const outcomes = await Promise.all([client, replica, client, replica].map((on) => call(on, 'listNodes', metadata)));
    expect(outcomes.filter(({ code }) => code === status.OK)).toHaveLength(1);
  });
});

describe('who follows the audit', () => {
  let clock: TestClock;
  let at: AdminServiceClient;
  beforeEach(async () => {
    clock = new TestClock();
    at = await serve(clock);
  });
  afterEach(() => at.close());
  /** Resolves once everything has been read and the server waits for more; the call goes on. */
  const follow = async (administrator: CertifiedKey): Promise<{ ended: Promise<Outcome> }> => {
    const request = { ...defaults('tailAudit'), follow: true };
    const ended = call(at, 'tailAudit', await proofFor(administrator, 'tailAudit', request), request);
    await Promise.race([clock.untilWaiting(), ended]);
    return { ended };
  };

  test('does so no longer than their certificate lives', async () => {
    const soonOver = await issueAdminCertificate(authority, { name: 'grace', trustDomain, days: 1 });
    const { ended } = await follow(soonOver);
    await clock.advance(1_000);
    await Promise.race([clock.untilWaiting(), ended]);
    expect(clock.waits).toEqual([1_000]);
    clock.set(clock.now() + 2 * 86_400_000);
    await clock.advance(1_000);
    expect(await ended).toEqual(unauthenticated('admin.certificate'));
  });

  test('stops when the admin CA is replaced, which is how a stolen key is ended', async () => {
    const before = authority;
    const { ended } = await follow(ada);
    authority = await createAuthority({ commonName: 'Administration CA', trustDomain, years: 1 });
    await clock.advance(1_000);
    expect(await ended).toEqual(unauthenticated('admin.certificate'));
    authority = before;
  });
});
