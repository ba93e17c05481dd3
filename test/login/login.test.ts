import { randomBytes, randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { credentials, status } from '@grpc/grpc-js';
import { SignJWT } from 'jose';
import type { AccountBackend } from '../../core/accounts/backend';
import { createAuthority, openAuthority } from '../../core/certificates/authority';
import type { CertifiedKey } from '../../core/certificates/authority';
import { verifyClientCertificate } from '../../core/certificates/client';
import { EnclaveRegistry } from '../../core/enclaves/enclaves';
import type { EnclaveId } from '../../core/enclaves/name';
import { callUnary } from '../../core/rpc/client';
import { RpcError } from '../../core/rpc/errors';
import { startServer } from '../../core/rpc/server';
import type { RunningServer } from '../../core/rpc/server';
import { issueAccessToken, verifyAccessToken } from '../../core/tokens/access-token';
import type { Enclave, LaunchOptions } from '../../functions/login/launcher/launcher';
import { loginService } from '../../functions/login/service';
import { LoginTrust } from '../../functions/login/trust';
import { LoginServiceClient, LoginServiceService, LoginStage } from '../../proto/gen/licensing/v1/login';
import type { LoginRequest } from '../../proto/gen/licensing/v1/login';
import { beginSession, openReplica, TRUST_DOMAIN, writeAccountFiles } from '../support/accounts';
import type { AccountFiles } from '../support/accounts';
import { startEmbeddedTestPostgres } from '../support/embedded-postgres';
import { startEnclaveEndpoint } from '../support/enclave-endpoint';
import type { EnclaveEndpoint, EnclaveEndpointOptions } from '../support/enclave-endpoint';
import { fakeLauncher } from '../support/launcher';
import { byPassword, byRefreshToken, byToken, logIn, loginRequest, newClientKey } from '../support/login-client';
import type { ClientKey } from '../support/login-client';

const password = 'correct horse battery';
const trust = { trustDomain: TRUST_DOMAIN };
const unixNow = (): number => Math.floor(Date.now() / 1000);

/** Stands at the seam where launchers are plugged in: says what the test tells it to, and remembers what it was asked. */
class FakeLauncher {
  discarded: Enclave[] = [];
  ensured = 0;
  next: (options: LaunchOptions) => Promise<Enclave> = () => Promise.reject(new Error('no enclave was set'));

  ensure(_enclave: EnclaveId, options: LaunchOptions): Promise<Enclave> {
    this.ensured += 1;
    return this.next(options);
  }

  discard(_enclave: EnclaveId, enclave: Enclave): Promise<void> {
    this.discarded.push(enclave);
    return Promise.resolve();
  }
}

let database: { url: string; stop(): Promise<void> };
let files: AccountFiles;
let backend: AccountBackend;
let clientCa: CertifiedKey;
let server: RunningServer;
let client: LoginServiceClient;
let key: ClientKey;
let user: string;
let token: string;
let refreshToken: string;
let launcher: FakeLauncher;
let endpoints: EnclaveEndpoint[] = [];

beforeAll(async () => {
  database = await startEmbeddedTestPostgres();
  files = await writeAccountFiles(database.url);
  backend = await openReplica(files);
  clientCa = await createAuthority({ commonName: 'client CA', trustDomain: TRUST_DOMAIN, years: 1 });
  key = await newClientKey();
  user = (await backend.accounts.create('alice', await backend.hasher.hash(password)))!;
  launcher = new FakeLauncher();
  const authority = await openAuthority(clientCa);
  const { TRUST_BUNDLE_FILE: trustBundle, REVOCATION_KEYS_FILE: revocationKeys } = files.settings;
  const implementation = loginService({
    backend,
    authority: () => Promise.resolve(authority),
    trust: await LoginTrust.open({ trustBundle, revocationKeys }, backend.database),
    launcher: fakeLauncher({ ensure: (...args) => launcher.ensure(...args), discard: (...args) => launcher.discard(...args) }),
    enclaves: new EnclaveRegistry(backend.database),
    enclaveLimit: () => Promise.resolve(4),
    patience: { startedMs: 3_000, runningMs: 400 },
  });
  server = await startServer({
    address: { scheme: 'http', host: '127.0.0.1', port: 0 },
    services: [{ definition: LoginServiceService, implementation }],
  });
  client = new LoginServiceClient(`127.0.0.1:${server.port}`, credentials.createInsecure());
});

afterAll(async () => {
  client.close();
  await server.stop(0);
  await backend.close();
  await files.remove();
  await database.stop();
});

beforeEach(async () => {
  launcher = new FakeLauncher();
  ({ accessToken: token, refreshToken } = await beginSession(backend, user));
});

afterEach(async () => {
  await Promise.all(endpoints.map((endpoint) => endpoint.stop()));
  endpoints = [];
});

async function enclave(options: Partial<EnclaveEndpointOptions> = {}): Promise<EnclaveEndpoint> {
  const endpoint = await startEnclaveEndpoint({ user, clientCa: clientCa.certificate, ...options });
  endpoints.push(endpoint);
  launcher.next = () => Promise.resolve(endpoint.location);
  return endpoint;
}

async function refusalOf(request: LoginRequest): Promise<RpcError> {
  const outcome = await logIn(client, request).then(
    () => undefined,
    (error: RpcError) => error,
  );
  if (!outcome) throw new Error('expected a refusal, got a login');
  return outcome;
}

async function refusal(request: LoginRequest): Promise<string> {
  const error = await refusalOf(request);
  return `${error.code} ${status[error.grpcStatus]}`;
}

describe('a login', () => {
  test.each(['password', 'refresh token'] as const)('by %s gives tokens, a client certificate, the place of the enclave and its evidence', async (kind) => {
    const { location } = await enclave();
    const request = loginRequest(key, kind === 'refresh token' ? byRefreshToken(refreshToken) : byPassword('Alice', password));
    const { result, stages } = await logIn(client, request);
    expect(stages).toEqual([LoginStage.LOGIN_STAGE_QUOTING]);
    const certificate = verifyClientCertificate(result.clientCertificates, clientCa.certificate, trust);
    expect(certificate.user).toBe(user);
    const access = await verifyAccessToken(backend.tokenKeys, result.accessToken, trust);
    expect(access).toMatchObject({ user, session: certificate.session });
    expect(Number(result.accessTokenExpiresAt)).toBeGreaterThan(unixNow() + 890);
    expect(result.enclave).toEqual({ user, workloadUid: location.workloadUid, node: 'node-a', endpoint: location.endpoint, tlsAddress: location.tlsAddress });
    expect(result.evidence?.claims.length).toBeGreaterThan(0);
    expect(result.refreshToken).toMatch(/^slsr_[\w-]{43}$/);
    expect(Number(result.refreshTokenExpiresAt) - unixNow()).toBeGreaterThan(30 * 86_400 - 60);
    const again = await logIn(client, loginRequest(key, byRefreshToken(result.refreshToken)));
    expect(verifyClientCertificate(again.result.clientCertificates, clientCa.certificate, trust).session).toBe(certificate.session);
    expect(again.result.refreshToken).not.toBe(result.refreshToken);
  });

  test('by access token gives a certificate of its session, and no token that lives longer', async () => {
    await enclave();
    const { result } = await logIn(client, loginRequest(key, byToken(token)));
    expect(result).toMatchObject({ accessToken: token, refreshToken: '' });
    const { session, expiresAt } = await verifyAccessToken(backend.tokenKeys, token, trust);
    expect(Number(result.accessTokenExpiresAt)).toBe(expiresAt);
    expect(verifyClientCertificate(result.clientCertificates, clientCa.certificate, trust).session).toBe(session);
  });

  test('tells the stages of the start in their order, each once', async () => {
    const { location } = await enclave();
    launcher.next = ({ onStage }) => {
      const { LOGIN_STAGE_SCHEDULED: scheduled, LOGIN_STAGE_PULLING: pulling, LOGIN_STAGE_STARTING: starting } = LoginStage;
      for (const stage of [scheduled, scheduled, pulling, scheduled, starting]) onStage(stage);
      return Promise.resolve({ ...location, started: true });
    };
    const { stages } = await logIn(client, loginRequest(key, byToken(token)));
    expect(stages).toEqual([1, 2, 3, 4]);
  });

  test('publishes the keys of its tokens', async () => {
    const { jwks } = await callUnary(client, client.getTokenKeys, {}, { timeout: 5_000 });
    expect(jwks).toBe(backend.tokenKeys.jwks);
    expect(jwks).not.toContain('"d"');
  });
});

describe('a request is refused', () => {
  test('when its nonce has not 32 bytes, as base64 of one has', async () => {
    for (const nonce of [Buffer.alloc(0), randomBytes(31), randomBytes(33), Buffer.from(randomBytes(32).toString('base64'))]) {
      expect(await refusal({ ...loginRequest(key, byToken(token)), nonce })).toBe('login.nonce INVALID_ARGUMENT');
    }
  });

  test('when its certificate request is broken', async () => {
    const broken = Buffer.from(key.csr);
    broken[broken.length - 1]! ^= 1;
    for (const csr of [Buffer.alloc(0), randomBytes(200), broken, Buffer.alloc(5000)]) {
      expect(await refusal({ ...loginRequest(key, byToken(token)), csr })).toBe('login.csr INVALID_ARGUMENT');
    }
  });

  test('when its proof is by another key, for another nonce, or none', async () => {
    const request = loginRequest(key, byToken(token));
    const other = loginRequest(await newClientKey(), byToken(token));
    const stale = loginRequest(key, byToken(token));
    for (const proof of [other.proof, stale.proof, Buffer.alloc(0), Buffer.alloc(64)]) {
      expect(await refusal({ ...request, proof })).toBe('login.proof INVALID_ARGUMENT');
    }
  });

  test('when it has no credential', async () => {
    expect(await refusal(loginRequest(key, undefined))).toBe('login.credential_missing UNAUTHENTICATED');
    expect(launcher.ensured).toBe(0);
  });

  test('with a token that is malformed, expired, of another type, or of an account that is gone', async () => {
    const past = new Date(Date.now() - 3_600_000);
    const expired = await issueAccessToken(backend.tokenKeys, { user, session: randomUUID(), authenticatedAt: unixNow() }, { ...trust, now: past });
    const gone = await issueAccessToken(backend.tokenKeys, { user: randomUUID(), session: randomUUID(), authenticatedAt: unixNow() }, trust);
    const elsewhere = await issueAccessToken(backend.tokenKeys, { user, session: randomUUID(), authenticatedAt: unixNow() }, { trustDomain: 'other.test' });
    const refresh = await new SignJWT({ session: randomUUID(), auth_time: unixNow() })
      .setProtectedHeader({ alg: 'ES256', typ: 'rt+jwt', kid: backend.tokenKeys.signing.kid })
      .setIssuer(`https://${TRUST_DOMAIN}`)
      .setAudience('sls')
      .setSubject(user)
      .setJti('x')
      .setIssuedAt()
      .setExpirationTime('5m')
      .sign(backend.tokenKeys.signing.key);
    for (const bad of ['', 'x', expired.token, elsewhere.token, refresh, refreshToken, `${token}x`]) {
      expect(await refusal(loginRequest(key, byToken(bad)))).toBe('login.token_invalid UNAUTHENTICATED');
    }
    expect(await refusal(loginRequest(key, byToken(gone.token)))).toBe('login.session_ended UNAUTHENTICATED');
    expect(launcher.ensured).toBe(0);
  });
});

describe('passwords', () => {
  test('that share 72 bytes with the right one do not log in', async () => {
    await enclave();
    const start = 'x'.repeat(72);
    const id = await backend.accounts.create('long', await backend.hasher.hash(`${start}one`));
    await enclave({ user: id });
    expect(await refusal(loginRequest(key, byPassword('long', `${start}two`)))).toBe('login.wrong_credentials UNAUTHENTICATED');
    expect((await logIn(client, loginRequest(key, byPassword('long', `${start}one`)))).result.enclave?.user).toBe(id);
  });

  test('cannot be told from unknown users by status, text or trailers', async () => {
    const answers = await Promise.all(
      [['alice', 'wrong password'], ['nobody', 'wrong password'], ['../etc', 'wrong password'], ['', ''], ['alice', 'x'.repeat(5000)]].map(
        async ([name, secret]) => {
          const { grpcStatus, code, message, cause } = await refusalOf(loginRequest(key, byPassword(name!, secret!)));
          const { metadata } = cause as unknown as { metadata: { getMap(): Record<string, unknown> } };
          return JSON.stringify({ grpcStatus, code, message, trailers: { ...metadata.getMap(), date: '' } });
        },
      ),
    );
    expect(new Set(answers).size).toBe(1);
    expect(answers[0]).toContain('login.wrong_credentials');
  });

  test('cannot be told from unknown users by time', async () => {
    const slow = await openReplica(files, { cost: 9 });
    await slow.accounts.create('timed', await slow.hasher.hash(password));
    const { authenticate } = await import('../../functions/login/authenticate');
    const time = async (username: string): Promise<number> => {
      const started = performance.now();
      await authenticate(slow, { credential: byPassword(username, 'wrong password'), oneTimeCode: '' }, { name: '', address: 'local' }, new AbortController().signal).catch(() => undefined);
      return performance.now() - started;
    };
    // The fastest of each: what else the machine does only ever adds. More are taken while those of a busy machine differ.
    let known = Infinity;
    let unknown = Infinity;
    const alike = (): boolean => unknown / known > 0.75 && unknown / known < 1.33;
    for (let i = 0; i < 100 && (i < 15 || !alike()); i++) {
      known = Math.min(known, await time('timed'));
      unknown = Math.min(unknown, await time('nobody.here'));
    }
    await slow.close();
    expect(known).toBeGreaterThan(10);
    expect(unknown / known).toBeGreaterThan(0.75);
    expect(unknown / known).toBeLessThan(1.33);
  });
});

describe('an enclave', () => {
  const identityLost = (): never => {
    throw new RpcError('enclave.identity_refused', status.FAILED_PRECONDITION, "the attestor refused this enclave's identity");
  };

  test('that lost its identity is discarded and started once more', async () => {
    const good = await enclave();
    const lost = await enclave({ before: identityLost });
    launcher.next = () => Promise.resolve(launcher.ensured === 1 ? lost.location : { ...good.location, started: true });
    const { result } = await logIn(client, loginRequest(key, byToken(token)));
    expect(result.enclave?.workloadUid).toBe(good.location.workloadUid);
    expect(launcher.discarded).toEqual([lost.location]);
  });

  test('that lost its identity twice is a clear refusal, and no third start', async () => {
    await enclave({ before: identityLost });
    const error = await refusalOf(loginRequest(key, byToken(token)));
    expect(error).toMatchObject({ code: 'login.enclave_unavailable', grpcStatus: status.UNAVAILABLE });
    expect(launcher.ensured).toBe(2);
  });

  test('that cannot be discarded is asked for again all the same', async () => {
    const good = await enclave();
    const lost = await enclave({ before: identityLost });
    launcher.next = () => Promise.resolve(launcher.ensured === 1 ? lost.location : { ...good.location, started: true });
    launcher.discard = () => Promise.reject(new RpcError('rpc.unavailable', status.UNAVAILABLE, 'connect ENOENT unix:/inner/path'));
    const { result } = await logIn(client, loginRequest(key, byToken(token)));
    expect(result.enclave?.workloadUid).toBe(good.location.workloadUid);
  });

  test('that was said to run and is not there is discarded and started once more', async () => {
    const gone = await enclave();
    await gone.stop();
    const good = await enclave();
    launcher.next = () => Promise.resolve(launcher.ensured === 1 ? gone.location : { ...good.location, started: true });
    const { result } = await logIn(client, loginRequest(key, byToken(token)));
    expect(result.enclave?.workloadUid).toBe(good.location.workloadUid);
    expect(launcher.discarded).toEqual([gone.location]);
  });

  test('whose port serves somebody else by now is discarded and started once more', async () => {
    const good = await enclave();
    const other = await enclave({ user: randomUUID() });
    launcher.next = () => Promise.resolve(launcher.ensured === 1 ? other.location : { ...good.location, started: true });
    const { result } = await logIn(client, loginRequest(key, byToken(token)));
    expect(result.enclave?.workloadUid).toBe(good.location.workloadUid);
  });

  test('that comes up slowly is waited for', async () => {
    const first = await enclave();
    await first.stop();
    const { location } = first;
    launcher.next = () => Promise.resolve({ ...location, started: true });
    const port = Number(new URL(location.endpoint).port);
    const login = logIn(client, loginRequest(key, byToken(token)));
    await sleep(700);
    const late = await enclave({ port, claims: { workloadUid: location.workloadUid } });
    expect((await login).result.enclave?.workloadUid).toBe(location.workloadUid);
    expect(launcher.discarded).toEqual([]);
    expect(late.calls()).toBe(1);
  });

  test('whose attestor is away for a moment is waited for', async () => {
    let failures = 2;
    await enclave({
      before: () => {
        if (failures-- > 0) throw new RpcError('enclave.attestor_unavailable', status.UNAVAILABLE, 'the attestor does not answer');
      },
    });
    await logIn(client, loginRequest(key, byToken(token)));
    expect(launcher.discarded).toEqual([]);
  });

  test('that never answers is a refusal that names no address', async () => {
    const gone = await enclave();
    await gone.stop();
    const error = await refusalOf(loginRequest(key, byToken(token)));
    expect(error).toMatchObject({ code: 'login.enclave_unavailable', grpcStatus: status.UNAVAILABLE });
    expect(error.message).toContain("doesn't answer");
    expect(error.message).not.toMatch(/127\.0\.0\.1|\d{4,}|ECONN/);
  });

  test('that answers for another workload or node than the launcher said is asked for again, then refused', async () => {
    for (const claims of [{ workloadUid: randomUUID() }, { node: 'node-b' }]) {
      launcher = new FakeLauncher();
      await enclave({ claims });
      expect(await refusal(loginRequest(key, byToken(token)))).toBe('login.enclave_unavailable UNAVAILABLE');
      expect(launcher.ensured).toBe(2);
      expect(launcher.discarded).toEqual([]);
    }
  });

  test('whose place the launcher does not know is taken from its evidence', async () => {
    const { location } = await enclave();
    launcher.next = () => Promise.resolve({ ...location, workloadUid: '', node: '' });
    const { result } = await logIn(client, loginRequest(key, byToken(token)));
    expect(result.enclave).toMatchObject({ workloadUid: location.workloadUid, node: 'node-a' });
  });

  test('that cannot be started is a refusal with the reason', async () => {
    launcher.next = () => Promise.reject(new RpcError('login.enclave_unavailable', status.UNAVAILABLE, 'no node with a TPM has room'));
    const error = await refusalOf(loginRequest(key, byToken(token)));
    expect(error).toMatchObject({ code: 'login.enclave_unavailable', grpcStatus: status.UNAVAILABLE, message: 'no node with a TPM has room' });
  });

  test.each(['login.revoked', 'licence.expired'])("that borrows the service's own word %s is not taken for it", async (code) => {
    await enclave({
      before() {
        throw new RpcError(code, status.UNAUTHENTICATED, 'your account is revoked');
      },
    });
    expect(await refusal(loginRequest(key, byToken(token)))).toBe('login.enclave_unavailable UNAVAILABLE');
    expect(launcher.discarded).toEqual([]);
  });

  test("is never the reason for an inner error's text to get out", async () => {
    launcher.next = () => Promise.reject(new Error('secret inner detail'));
    const error = await refusalOf(loginRequest(key, byToken(token)));
    expect(error).toMatchObject({ code: 'internal', grpcStatus: status.INTERNAL });
    expect(error.message).not.toContain('secret');
  });
});

describe('a caller that is gone', () => {
  test.each(['cancelled', 'past its deadline'])('(%s) stops the wait for the enclave', async (how) => {
    const ended = new Promise<unknown>((resolve) => {
      launcher.next = ({ signal }) =>
        new Promise((_, reject) =>
          signal.addEventListener('abort', () => {
            resolve(signal.reason);
            reject(signal.reason as Error);
          }),
        );
    });
    const controller = new AbortController();
    const login = logIn(client, loginRequest(key, byToken(token)), how === 'cancelled' ? { signal: controller.signal } : { timeout: 300 });
    setTimeout(() => controller.abort(), 200);
    await expect(login).rejects.toMatchObject({ grpcStatus: how === 'cancelled' ? status.CANCELLED : status.DEADLINE_EXCEEDED });
    expect(await ended).toMatchObject({ code: 'rpc.cancelled' });
  });

  test('stops the tries to reach the enclave, and nothing is discarded', async () => {
    const gone = await enclave();
    await gone.stop();
    launcher.next = () => Promise.resolve({ ...gone.location, started: true });
    await expect(logIn(client, loginRequest(key, byToken(token)), { timeout: 300 })).rejects.toMatchObject({ grpcStatus: status.DEADLINE_EXCEEDED });
    await sleep(500);
    expect(launcher).toMatchObject({ ensured: 1, discarded: [] });
    await enclave();
    await logIn(client, loginRequest(key, byToken(token)));
  });
});
