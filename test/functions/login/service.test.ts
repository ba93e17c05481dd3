import { randomBytes, randomUUID, X509Certificate } from 'node:crypto';
import { SignJWT } from 'jose';
import { verifyClientCertificate } from '../../../attestation/certificates/client';
import { callUnary } from '../../../runtime/rpc/client';
import { issueAccessToken, verifyAccessToken } from '../../../licensing/tokens/access-token';
import { LoginStage } from '../../../proto/gen/licensing/v1/login';
import { TRUST_DOMAIN } from '../../support/accounts';
import { byPassword, byRefreshToken, byToken, logIn, loginRequest, newClientKey } from '../../support/login-client';
import { LoginUnderTest, PASSWORD } from '../../support/login-service';

const trust = {
  trustDomain: TRUST_DOMAIN,
  get now(): Date {
    return new Date();
  },
};
const unixNow = (): number => Math.floor(Date.now() / 1000);

let service: LoginUnderTest;
beforeAll(async () => {
  service = await LoginUnderTest.start();
});
afterAll(() => service.stop());
beforeEach(() => service.beginTest());
afterEach(() => service.endTest());

describe('a login', () => {
  test.each(['password', 'refresh token'] as const)(
    'by %s gives tokens, a client certificate, the place of the enclave and its evidence',
    async (kind) => {
      const { location } = await service.enclave();
      const request = loginRequest(
        service.key,
        kind === 'refresh token' ? byRefreshToken(service.refreshToken) : byPassword('Alice', PASSWORD),
      );
      const { result, stages } = await logIn(service.client, request);
      expect(stages).toEqual([LoginStage.LOGIN_STAGE_QUOTING]);
      const certificate = verifyClientCertificate(result.clientCertificates, service.clientCa.certificate, trust);
      expect(certificate.user).toBe(service.user);
      const access = await verifyAccessToken(service.backend.tokenKeys, result.accessToken, trust);
      expect(access).toMatchObject({ user: service.user, session: certificate.session });
      expect(Number(result.accessTokenExpiresAt)).toBeGreaterThan(unixNow() + 890);
      expect(result.enclave).toEqual({
        user: service.user,
        workloadUid: location.workloadUid,
        node: 'node-a',
        endpoint: location.endpoint,
        tlsAddress: location.tlsAddress,
      });
      expect(result.evidence?.claims.length).toBeGreaterThan(0);
      expect(result.refreshToken).toMatch(/^slsr_[\w-]{43}$/);
      expect(Number(result.refreshTokenExpiresAt) - unixNow()).toBeGreaterThan(30 * 86_400 - 60);
      const again = await logIn(service.client, loginRequest(service.key, byRefreshToken(result.refreshToken)));
      expect(
        verifyClientCertificate(again.result.clientCertificates, service.clientCa.certificate, trust).session,
      ).toBe(certificate.session);
      expect(again.result.refreshToken).not.toBe(result.refreshToken);
    },
  );

  test('by access token gives a certificate of its session, and no token that lives longer', async () => {
    await service.enclave();
    const { result } = await logIn(service.client, loginRequest(service.key, byToken(service.token)));
    expect(result).toMatchObject({ accessToken: service.token, refreshToken: '' });
    const { session, expiresAt } = await verifyAccessToken(service.backend.tokenKeys, service.token, trust);
    expect(Number(result.accessTokenExpiresAt)).toBe(expiresAt);
    expect(verifyClientCertificate(result.clientCertificates, service.clientCa.certificate, trust).session).toBe(
      session,
    );
  });

  test('by access token gives a certificate that ends with the token: what is stolen for minutes is good for minutes', async () => {
    await service.enclave();
    const endOf = (certificates: Buffer[]): number => Date.parse(new X509Certificate(certificates[0]!).validTo) / 1000;
    const { session } = await verifyAccessToken(service.backend.tokenKeys, service.token, trust);
    const eightMinutesAgo = new Date(Date.now() - 480_000);
    const { token, expiresAt } = await issueAccessToken(
      service.backend.tokenKeys,
      { user: service.user, session, authenticatedAt: unixNow() },
      { ...trust, now: eightMinutesAgo },
    );
    const byStolen = await logIn(service.client, loginRequest(service.key, byToken(token)));
    expect(endOf(byStolen.result.clientCertificates)).toBeLessThanOrEqual(expiresAt + 1);
    const byOwn = await logIn(service.client, loginRequest(service.key, byRefreshToken(service.refreshToken)));
    expect(endOf(byOwn.result.clientCertificates)).toBeGreaterThan(expiresAt + 1800);
  });

  test('tells the stages of the start in their order, each once', async () => {
    const { location } = await service.enclave();
    service.launcher.next = ({ onStage }) => {
      const {
        LOGIN_STAGE_SCHEDULED: scheduled,
        LOGIN_STAGE_PULLING: pulling,
        LOGIN_STAGE_STARTING: starting,
      } = LoginStage;
      for (const stage of [scheduled, scheduled, pulling, scheduled, starting]) onStage(stage);
      return Promise.resolve({ ...location, started: true });
    };
    const { stages } = await logIn(service.client, loginRequest(service.key, byToken(service.token)));
    expect(stages).toEqual([1, 2, 3, 4]);
  });

  test('publishes the keys of its tokens', async () => {
    const { jwks } = await callUnary(service.client, service.client.getTokenKeys, {}, { timeout: 120_000 });
    expect(jwks).toBe(service.backend.tokenKeys.jwks);
    expect(jwks).not.toContain('"d"');
  });
});

describe('a request is refused', () => {
  test('when its nonce has not 32 bytes, as base64 of one has', async () => {
    for (const nonce of [
      Buffer.alloc(0),
      randomBytes(31),
      randomBytes(33),
      Buffer.from(randomBytes(32).toString('base64')),
    ]) {
      expect(await service.refusal({ ...loginRequest(service.key, byToken(service.token)), nonce })).toBe(
        'login.nonce INVALID_ARGUMENT',
      );
    }
  });

  test('when its certificate request is broken', async () => {
    const broken = Buffer.from(service.key.csr);
    broken[broken.length - 1]! ^= 1;
    for (const csr of [Buffer.alloc(0), randomBytes(200), broken, Buffer.alloc(5000)]) {
      expect(await service.refusal({ ...loginRequest(service.key, byToken(service.token)), csr })).toBe(
        'login.csr INVALID_ARGUMENT',
      );
    }
  });

  test('when its proof is by another key, for another nonce, or none', async () => {
    const request = loginRequest(service.key, byToken(service.token));
    const other = loginRequest(await newClientKey(), byToken(service.token));
    const stale = loginRequest(service.key, byToken(service.token));
    for (const proof of [other.proof, stale.proof, Buffer.alloc(0), Buffer.alloc(64)]) {
      expect(await service.refusal({ ...request, proof })).toBe('login.proof INVALID_ARGUMENT');
    }
  });

  test('when it has no credential', async () => {
    expect(await service.refusal(loginRequest(service.key, undefined))).toBe(
      'login.credential_missing UNAUTHENTICATED',
    );
    expect(service.launcher.ensured).toBe(0);
  });

  test('with a token that is malformed, expired, of another type, or of an account that is gone', async () => {
    const past = new Date(Date.now() - 3_600_000);
    const expired = await issueAccessToken(
      service.backend.tokenKeys,
      { user: service.user, session: randomUUID(), authenticatedAt: unixNow() },
      { ...trust, now: past },
    );
    const gone = await issueAccessToken(
      service.backend.tokenKeys,
      { user: randomUUID(), session: randomUUID(), authenticatedAt: unixNow() },
      trust,
    );
    const elsewhere = await issueAccessToken(
      service.backend.tokenKeys,
      { user: service.user, session: randomUUID(), authenticatedAt: unixNow() },
      { trustDomain: 'other.test' },
    );
    const refresh = await new SignJWT({ session: randomUUID(), auth_time: unixNow() })
      .setProtectedHeader({ alg: 'ES256', typ: 'rt+jwt', kid: service.backend.tokenKeys.signing.kid })
      .setIssuer(`https://${TRUST_DOMAIN}`)
      .setAudience('sls')
      .setSubject(service.user)
      .setJti('x')
      .setIssuedAt()
      .setExpirationTime('5m')
      .sign(service.backend.tokenKeys.signing.key);
    for (const bad of ['', 'x', expired.token, elsewhere.token, refresh, service.refreshToken, `${service.token}x`]) {
      expect(await service.refusal(loginRequest(service.key, byToken(bad)))).toBe(
        'login.token_invalid UNAUTHENTICATED',
      );
    }
    expect(await service.refusal(loginRequest(service.key, byToken(gone.token)))).toBe(
      'login.session_ended UNAUTHENTICATED',
    );
    expect(service.launcher.ensured).toBe(0);
  });
});
