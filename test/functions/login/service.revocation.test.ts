import { createHash } from 'node:crypto';
import { credentials, status } from '@grpc/grpc-js';
import type { AccountBackend } from '../../../licensing/accounts/backend';
import { createAuthority, openAuthority } from '../../../licensing/authority/authority';
import { restore, revoke } from '../../../licensing/revocation/store';
import type { RevocationKind } from '../../../licensing/revocation/store';
import { callUnary } from '../../../runtime/rpc/client';
import { startServer } from '../../../runtime/rpc/server';
import type { RunningServer } from '../../../runtime/rpc/server';
import { TPMA_OBJECT } from '../../../attestation/tpm/constants';
import { readRevocations } from '../../../attestation/trust/revocations';
import { readSignedBundle } from '../../../attestation/trust/signed-bundle';
import { EnclaveRegistry } from '../../../licensing/enclaves/enclaves';
import type { Enclave } from '../../../functions/login/launcher/launcher';
import { loginService } from '../../../functions/login/service';
import { loadTrustFiles, LoginTrust, trustService } from '../../../functions/login/trust';
import { LoginServiceClient, LoginServiceService } from '../../../proto/gen/licensing/v1/login';
import { TrustServiceClient, TrustServiceService } from '../../../proto/gen/licensing/v1/trust';
import { TestClock } from '../../support/clock';
import { openReplica, TRUST_DOMAIN, writeAccountFiles } from '../../support/accounts';
import type { AccountFiles } from '../../support/accounts';
import { testDatabase } from '../../support/postgres';
import { startEnclaveEndpoint } from '../../support/enclave-endpoint';
import type { EnclaveEndpoint } from '../../support/enclave-endpoint';
import { makeFakeTpm } from '../../support/evidence';
import { fakeLauncher } from '../../support/launcher';
import { byPassword, byToken, logIn, loginRequest, newClientKey } from '../../support/login-client';
import type { ClientKey } from '../../support/login-client';
import { loginBundle, loginTpm, revocationKey } from '../../support/login-trust';
import type { CertifiedKey } from '../../../runtime/keys/key-pair';

const password = 'correct horse battery';
let database: { url: string; stop(): Promise<void> };
let files: AccountFiles;
let backend: AccountBackend;
let clientCa: CertifiedKey;
let server: RunningServer;
let client: LoginServiceClient;
let trust: TrustServiceClient;
let key: ClientKey;
let user: string;
let endpoint: EnclaveEndpoint;
let discarded: Enclave[] = [];
let beforeEnsure: () => Promise<unknown> = () => Promise.resolve();

beforeAll(async () => {
  database = await testDatabase();
  files = await writeAccountFiles(database.url);
  backend = await openReplica(files);
  clientCa = await createAuthority({ commonName: 'client CA', trustDomain: TRUST_DOMAIN, years: 1 });
  key = await newClientKey();
  user = (await backend.accounts.create('alice', await backend.hasher.hash(password)))!;
  endpoint = await startEnclaveEndpoint({ user, clientCa: clientCa.certificate });
  const authority = await openAuthority(clientCa);
  const loginTrust = new LoginTrust({ ...(await loadTrustFiles(files.settings)), database: backend.database });
  const implementation = loginService({
    backend,
    authority: () => Promise.resolve(authority),
    trust: loginTrust,
    patience: { startedMs: 10_000, runningMs: 1_500 },
    launcher: fakeLauncher({
      async ensure() {
        await beforeEnsure();
        return endpoint.location;
      },
      discard: (_id, enclave) => (discarded.push(enclave), Promise.resolve()),
    }),
    enclaves: new EnclaveRegistry(backend.database),
    enclaveLimit: () => Promise.resolve(4),
  });
  server = await startServer({
    address: { scheme: 'http', host: '127.0.0.1', port: 0 },
    services: [
      { definition: LoginServiceService, implementation },
      { definition: TrustServiceService, implementation: trustService(loginTrust) },
    ],
  });
  client = new LoginServiceClient(`127.0.0.1:${server.port}`, credentials.createInsecure());
  trust = new TrustServiceClient(`127.0.0.1:${server.port}`, credentials.createInsecure());
});
afterAll(async () => {
  client.close();
  trust.close();
  await Promise.all([server.stop(0), endpoint.stop()]);
  await backend.close();
  await files.remove();
  await database.stop();
});
beforeEach(() => {
  discarded = [];
  beforeEnsure = () => Promise.resolve();
});

const login = () => logIn(client, loginRequest(key, byPassword('alice', password)));
const put = (kind: RevocationKind, subject: string): Promise<boolean> =>
  revoke(backend.database, { kind, subject, revokedBy: 'test', reason: 'test' });

async function subjectOf(kind: RevocationKind): Promise<string> {
  const tpm = await loginTpm();
  if (kind === 'node') return tpm.node;
  if (kind === 'ak') return createHash('sha256').update(tpm.akPublic).digest('hex');
  return 'ab'.repeat(32);
}

test('a login comes with a list that its client can read', async () => {
  const { result } = await login();
  expect(await readRevocations(result.revocations, [revocationKey.publicKey], new Date())).toMatchObject({
    nodes: [],
    aks: [],
    eks: [],
    users: [],
    trustSequence: 1,
  });
});

test('anyone gets the signed bundle and the list', async () => {
  const { bundle } = await callUnary(trust, trust.getTrustBundle, {}, { timeout: 120_000 });
  expect(await readSignedBundle(bundle)).toEqual(await loginBundle());
  const { revocations } = await callUnary(trust, trust.getRevocations, {}, { timeout: 120_000 });
  await readRevocations(revocations, [revocationKey.publicKey], new Date());
});

describe('a revoked user', () => {
  afterEach(() => restore(backend.database, 'user', user));

  test('is UNAUTHENTICATED, by password and by token, and nothing is started', async () => {
    const { result } = await login();
    await put('user', user);
    let ensured = 0;
    beforeEnsure = () => Promise.resolve((ensured += 1));
    for (const credential of [byPassword('alice', password), byToken(result.accessToken)]) {
      await expect(logIn(client, loginRequest(key, credential))).toRejectWithCode('login.revoked', {
        grpcStatus: status.UNAUTHENTICATED,
      });
    }
    expect(ensured).toBe(0);
  });

  test('with a wrong password learns nothing of the revocation', async () => {
    await put('user', user);
    await expect(logIn(client, loginRequest(key, byPassword('alice', 'wrong')))).toRejectWithCode(
      'login.wrong_credentials',
    );
  });

  test('who is revoked while the enclave starts gets nothing, and the enclave is ended', async () => {
    beforeEnsure = () => put('user', user);
    await expect(login()).toRejectWithCode('login.revoked');
    expect(discarded).toHaveLength(1);
  });

  test('is in the list a second later: with what clients take, who refuse a list of more than a minute, that is the bound', async () => {
    const clock = new TestClock();
    const held = new LoginTrust({ ...(await loadTrustFiles(files.settings)), database: backend.database, clock });
    const isListed = async (): Promise<boolean> =>
      (
        await readRevocations(await held.revocations(), [revocationKey.publicKey], new Date(clock.now()))
      ).users.includes(user);
    expect(await isListed()).toBe(false);
    await put('user', user);
    await clock.advance(1_000);
    expect(await isListed()).toBe(false);
    await clock.advance(1);
    expect(await isListed()).toBe(true);
  });
});

describe.each(['node', 'ak', 'ek'] as const)('evidence of a revoked %s', (kind) => {
  test('is refused, and the enclave discarded', async () => {
    await put(kind, await subjectOf(kind));
    try {
      await expect(login()).rejects.toThrow(`revocation.${kind}`);
      expect(discarded.length).toBeGreaterThan(0);
    } finally {
      await restore(backend.database, kind, await subjectOf(kind));
    }
    await login();
  });
});

test("a revoked attestation key stays revoked, whichever bit of its public area the enclave's node writes differently", async () => {
  await put('ak', await subjectOf('ak'));
  const tpm = await loginTpm();
  const genuine = tpm.akPublic;
  try {
    for (const bit of [TPMA_OBJECT.noDA, TPMA_OBJECT.stClear, TPMA_OBJECT.adminWithPolicy, TPMA_OBJECT.userWithAuth]) {
      tpm.akPublic = Buffer.from(genuine);
      tpm.akPublic.writeUInt32BE(genuine.readUInt32BE(4) ^ bit, 4);
      await expect(login()).rejects.toThrow('ak_certificate.public_area');
    }
  } finally {
    tpm.akPublic = genuine;
    await restore(backend.database, 'ak', await subjectOf('ak'));
  }
  await login();
});

test('evidence by a TPM that nobody certified is refused by login itself', async () => {
  const rogue = await startEnclaveEndpoint({ user, clientCa: clientCa.certificate, tpm: await makeFakeTpm() });
  const genuine = endpoint;
  endpoint = rogue;
  try {
    await expect(login()).rejects.toThrow('ak_certificate.untrusted');
  } finally {
    endpoint = genuine;
    await rogue.stop();
  }
});
