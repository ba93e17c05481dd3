import { randomUUID } from 'node:crypto';
import { SignJWT } from 'jose';
import {
  attest,
  AttestationRefused,
  login,
  LoginStage,
  parseSession,
  PlaintextRefused,
  renew,
  serializeSession,
  signUp,
} from '../../client/index';
import type { LoginReceipt, SessionTokens, TrustBundle } from '../../client/index';
import { parseAddress } from '../../runtime/rpc/address';
import { serverStream, unary } from '../../runtime/rpc/handlers';
import { startServer } from '../../runtime/rpc/server';
import type { RunningServer } from '../../runtime/rpc/server';
import { openEnclave } from '../../client/channel';
import { connect } from '../../client/connect/connect';
import { makeClientKey } from '../../client/key';
import { sessionId } from '../../client/session';
import { callUnary } from '../../runtime/rpc/client';
import { EnclaveServiceClient } from '../../proto/gen/licensing/v1/enclave';
import { Evidence } from '../../proto/gen/licensing/v1/evidence';
import { LoginServiceService } from '../../proto/gen/licensing/v1/login';
import type { LoginRequest, LoginResponse, LoginResult } from '../../proto/gen/licensing/v1/login';
import { loginRecord } from '../../functions/login/record';
import { parseClaims } from '../../attestation/evidence/claims';
import { startEnclaveFixture } from '../support/enclave';
import type { EnclaveFixture } from '../support/enclave';
import { makeEvidence, makeFakeTpm, TRUST_DOMAIN } from '../support/evidence';
import { makeSigningKey } from '../support/trust';
import { issueClientCertificate } from '../../licensing/authority/client';

let fixture: EnclaveFixture;
let service: RunningServer;
let trust: TrustBundle;
let requests: LoginRequest[];
/** What the login service changes of its honest answer: a lie, for the client to find. */
let lie: (result: LoginResult) => Promise<Partial<LoginResult>> | Partial<LoginResult>;
/** Messages before the result. */
let stages: LoginStage[];

beforeAll(async () => {
  fixture = await startEnclaveFixture();
  service = await startServer({
    address: parseAddress('http://127.0.0.1:0'),
    services: [
      {
        definition: LoginServiceService,
        implementation: {
          login: serverStream<LoginRequest, LoginResponse>(async (call) => {
            requests.push(call.request);
            for (const stage of stages) call.write({ event: { $case: 'progress', value: { stage } } });
            const result = await honestResult(call.request);
            call.write({ event: { $case: 'result', value: { ...result, ...(await lie(result)) } } });
          }),
          getTokenKeys: unary(() => Promise.resolve({ jwks: '{}' })),
        },
      },
    ],
  });
  const address = `http://127.0.0.1:${service.port}`;
  trust = { ...fixture.trust, services: { signup: address, login: address } };
});
beforeEach(() => {
  requests = [];
  stages = [];
  lie = () => ({});
});
afterAll(async () => {
  await service.stop(0);
  await fixture.stop();
});

async function certify(csr: Buffer, seconds = 3600): Promise<Buffer[]> {
  return issueClientCertificate(fixture.clientAuthority, csr, {
    user: fixture.user,
    session: randomUUID(),
    trustDomain: TRUST_DOMAIN,
    seconds,
  });
}

async function honestResult({ nonce, csr, proof, includeEventLog }: LoginRequest): Promise<LoginResult> {
  const clientCertificates = await certify(csr);
  const endpoint = `http://127.0.0.1:${fixture.enclave.ports.listen}`;
  const enclave = openEnclave(EnclaveServiceClient, endpoint, trust);
  const { evidence } = await callUnary(
    enclave,
    enclave.attest,
    { nonce, clientCertificates, proof, includeEventLog },
    { timeout: 120_000 },
  );
  enclave.close();
  return {
    accessToken: 'next token',
    accessTokenExpiresAt: 1_900_000_000n,
    clientCertificates,
    enclave: {
      user: fixture.user,
      workloadUid: fixture.workloadUid,
      node: fixture.attestor.tpm.node,
      endpoint,
      tlsAddress: `127.0.0.1:${fixture.enclave.ports.tls}`,
    },
    evidence,
    revocations: await fixture.trustService.list(),
    refreshToken: 'next refresh token',
    refreshTokenExpiresAt: 1_900_000_001n,
    licence: undefined,
    receipt: {
      record: loginRecord(
        { user: fixture.user, session: sessionId({ clientCertificates })! },
        parseClaims(evidence!.claims),
        evidence!,
        new Date(),
      ),
    },
  };
}

const credential = { username: 'ada', password: 'correct horse' };

test('a login gives a verified session, and tells its stages', async () => {
  stages = [LoginStage.LOGIN_STAGE_STARTING, LoginStage.LOGIN_STAGE_QUOTING];
  const told: LoginStage[] = [];
  const steps: string[] = [];
  const session = await login(trust, {
    credential,
    onStage: (stage) => told.push(stage),
    onStep: ({ step }) => steps.push(step),
  });
  expect(told).toEqual(stages);
  expect(steps.slice(-3)).toEqual(['policy', 'revocation', 'log']);
  expect(session).toMatchObject({
    accessToken: 'next token',
    accessTokenExpiresAt: 1_900_000_000,
    enclave: { user: fixture.user },
  });
});

describe('the receipt of a login', () => {
  const attempt = (received: Array<LoginReceipt | undefined> = []): Promise<unknown> =>
    login(trust, { credential, onReceipt: (receipt) => void received.push(receipt) });
  const change = (from: RegExp, to: string): void => {
    lie = ({ receipt }) => ({
      receipt: { record: Buffer.from(receipt!.record.toString('utf8').replace(from, to), 'utf8') },
    });
  };

  test('is compared with the evidence, and told; so is that there is none', async () => {
    const received: Array<LoginReceipt | undefined> = [];
    let record: Buffer | undefined;
    lie = ({ receipt }) => ({ receipt: { record: (record = receipt!.record) } });
    await attempt(received);
    lie = () => ({ receipt: undefined });
    await attempt(received);
    expect(received).toEqual([{ record, receivedAt: expect.any(Date) }, undefined]);
  });

  test.each([
    ['of another user', /"user":"[^"]+"/, '"user":"somebody"'],
    ['of another session', /"session":"[^"]+"/, '"session":"another"'],
    ['of another enclave', /"workloadUid":"[^"]+"/, '"workloadUid":"another"'],
    ['of another node', /"node":"[^"]+"/, '"node":"another"'],
    ['of another image', /"imageDigest":"[^"]+"/, '"imageDigest":"another"'],
    ['of other evidence', /"claimsSha256":"../, '"claimsSha256":"zz'],
    ['without a session', /"session":"[^"]+",/, ''],
    ['with a session that is no text', /"session":"[^"]+"/, '"session":{}'],
    ['of another time', /"at":"\d{4}/, '"at":"1999'],
    ['of a time to come', /"at":"\d{4}/, '"at":"2999'],
    ['of something else', /login\.granted/, 'refused'],
    ['of nothing', /^.*$/s, ''],
    ['that is no JSON', /^.*$/s, 'x'],
    ['that is null', /^.*$/s, 'null'],
    ['without end', /"kind"/, `"padding":"${'x'.repeat(20_000)}","kind"`],
  ])('is refused where it is %s, and not told', async (_name, from, to) => {
    change(from, to);
    const received: Array<LoginReceipt | undefined> = [];
    await expect(attempt(received)).rejects.toMatchObject({
      name: 'AttestationRefused',
      phase: 'login',
      step: 'log',
      code: 'log.record_wrong',
    });
    expect(received).toEqual([]);
  });

  test('is refused where it is that of a login before', async () => {
    let before: LoginResult['receipt'];
    lie = ({ receipt }) => ({ receipt: (before = receipt) });
    await attempt();
    lie = () => ({ receipt: before });
    await expect(attempt()).toRejectWithCode('log.record_wrong', { message: expect.stringContaining('with session') });
  });
});

describe('a session goes on as its user and with its installation alone', () => {
  const tokenOf = (user: string): Promise<string> =>
    new SignJWT({}).setProtectedHeader({ alg: 'HS256' }).setSubject(user).sign(Buffer.alloc(32));
  const credential = { refreshToken: 'of ada' };

  test('tokens of another user are refused before they are kept, whatever the evidence says', async () => {
    const onTokens = jest.fn();
    const accessToken = await tokenOf(randomUUID());
    lie = () => ({ accessToken });
    const attempt = login(trust, { credential, user: fixture.user, onTokens });
    await expect(attempt).rejects.toMatchObject({ name: 'AttestationRefused', code: 'identity.user' });
    expect(onTokens).not.toHaveBeenCalled();
    // Where nobody knows the user yet, evidence and tokens have to be of one.
    await expect(login(trust, { credential })).rejects.toMatchObject({ code: 'identity.user' });
  });

  test('tokens of its own user go on', async () => {
    const accessToken = await tokenOf(fixture.user);
    lie = () => ({ accessToken });
    expect(await login(trust, { credential, user: fixture.user })).toMatchObject({ accessToken });
  });

  test('another installation gets nothing of it', async () => {
    const session = await login(trust, { credential });
    const other = { ...trust, trustKey: makeSigningKey('trust').publicKey };
    requests = [];
    const refused = { name: 'AttestationRefused', code: 'identity.installation' };
    await expect(renew(other, session, { enclaveGone: true })).rejects.toMatchObject(refused);
    await expect(connect(other, session)).rejects.toMatchObject(refused);
    expect(requests).toEqual([]);
  });
});

test('every login has a nonce and a key of its own', async () => {
  for (let i = 0; i < 3; i++) await login(trust, { credential });
  expect(new Set(requests.map(({ nonce }) => nonce.toString('hex'))).size).toBe(3);
  expect(new Set(requests.map(({ csr }) => csr.toString('hex'))).size).toBe(3);
  expect(requests.every(({ nonce }) => nonce.length === 32)).toBe(true);
});

test('a session survives its file, and can be attested anew', async () => {
  const session = await login(trust, { credential });
  const read = parseSession(serializeSession(session));
  expect(read).toEqual(session);
  const newer = JSON.parse(serializeSession(session)) as { enclave: object; evidence: object };
  const more = { zone: 'x' };
  expect(
    parseSession(
      JSON.stringify({
        ...newer,
        ...more,
        enclave: { ...newer.enclave, ...more },
        evidence: { ...newer.evidence, ...more },
      }),
    ),
  ).toEqual(session);
  const renewed = await attest(fixture.trust, read);
  expect(renewed.nonce.equals(read.nonce)).toBe(false);
  expect(Buffer.from(Evidence.encode(renewed.evidence).finish())).not.toEqual(
    Buffer.from(Evidence.encode(read.evidence).finish()),
  );
});

test.each(['', '{', '[]', '{"version":2}', '{"version":1,"accessToken":1}'])(
  'a file that is no session: %j',
  (text) => {
    expect(() => parseSession(text)).toThrow(TypeError);
  },
);

describe('a login service that lies', () => {
  const attempt = (): Promise<unknown> => login(trust, { credential });

  test('evidence for another nonce', async () => {
    const before = await honestResult({ ...(await capture()), includeEventLog: false });
    lie = () => ({ evidence: before.evidence });
    await expect(attempt()).rejects.toMatchObject({ name: 'AttestationRefused', code: 'freshness.nonce' });
  });

  test('evidence by a TPM of its own', async () => {
    const tpm = await makeFakeTpm();
    lie = ({ evidence }) => ({
      evidence: makeEvidence(tpm, { claimsBytes: evidence!.claims, enclaveCertificate: evidence!.enclaveCertificate }),
    });
    await expect(attempt()).toRejectWithCode('ak_certificate.untrusted');
  });

  test('another certificate than the attested one', async () => {
    lie = ({ evidence }) => ({ evidence: { ...evidence!, enclaveCertificate: Buffer.from('mine') } });
    await expect(attempt()).toRejectWithCode('certificate_hash.mismatch');
  });

  test('another workload or node than the attested one', async () => {
    lie = ({ enclave }) => ({ enclave: { ...enclave!, workloadUid: randomUUID() } });
    await expect(attempt()).toRejectWithCode('identity.workload');
    lie = ({ enclave }) => ({ enclave: { ...enclave!, node: 'node-z' } });
    await expect(attempt()).toRejectWithCode('identity.node');
  });

  test("another user's enclave, when the client knows who it is", async () => {
    await expect(login(trust, { credential, user: randomUUID() })).toRejectWithCode('identity.user');
    const accessToken = await new SignJWT({})
      .setProtectedHeader({ alg: 'HS256' })
      .setSubject(randomUUID())
      .sign(Buffer.alloc(32));
    await expect(login(trust, { credential: { accessToken } })).toRejectWithCode('identity.user');
  });

  test('no evidence, no enclave, no result', async () => {
    lie = () => ({ evidence: undefined });
    await expect(attempt()).rejects.toMatchObject({ name: 'AttestationRefused', code: 'evidence.missing' });
    lie = () => ({ enclave: undefined });
    await expect(attempt()).toRejectWithCode('login.no_result');
  });

  test('a certificate for another key', async () => {
    const other = await capture();
    lie = async () => ({ clientCertificates: await certify(other.csr) });
    await expect(attempt()).toRejectWithCode('login.wrong_certificate');
    lie = () => ({ clientCertificates: [] });
    await expect(attempt()).toRejectWithCode('login.wrong_certificate');
  });
});

/** The request of a login that went well. */
async function capture(): Promise<LoginRequest> {
  await login(trust, { credential });
  return requests.at(-1)!;
}

test('a policy of the call is added to the trust bundle', async () => {
  await expect(
    login(trust, { credential, policy: { imageDigests: [`sha256:${'1'.repeat(64)}`] } }),
  ).rejects.toMatchObject({
    name: 'AttestationRefused',
    step: 'policy',
    code: 'policy.image_digest',
  });
});

test('passwords and tokens are not sent in plain text to another host', async () => {
  const remote = { ...trust, services: { signup: 'http://192.0.2.1:80', login: 'http://login.example' } };
  await expect(signUp(remote, credential)).rejects.toBeInstanceOf(PlaintextRefused);
  await expect(login(remote, { credential })).toRejectWithCode('client.plaintext_refused');
  await expect(
    login({ ...remote, services: { ...remote.services, login: 'http://127.0.0.1.example' } }, { credential }),
  ).rejects.toBeInstanceOf(PlaintextRefused);
});

test('a service that is not there is unavailable', async () => {
  const gone = { ...trust, services: { signup: 'http://127.0.0.1:1', login: 'http://127.0.0.1:1' } };
  await expect(login(gone, { credential })).toRejectWithCode('service.unreachable');
});

describe('a session is renewed by itself', () => {
  const future = 1_900_000_000;
  const past = 1_000_000_000;

  test('not at all while all of it is good', async () => {
    const session = await login(trust, { credential });
    expect(await renew(trust, session)).toBe(session);
    expect(requests).toHaveLength(1);
  });

  test('beyond the hour of its client certificate: by a login with the refresh token, a new key and a fresh verification', async () => {
    const session = await login(trust, { credential });
    const old = {
      ...session,
      clientCertificates: await certify((await makeClientKey()).csr, 20),
      accessTokenExpiresAt: past,
    };
    const steps: string[] = [];
    const given: SessionTokens[] = [];
    const renewed = await renew(trust, old, {
      onStep: ({ step }) => steps.push(step),
      onTokens: (tokens) => void given.push(tokens),
    });
    expect(requests[1]!.credential).toEqual({ $case: 'refreshToken', value: 'next refresh token' });
    expect(renewed.clientKey).not.toBe(session.clientKey);
    expect(steps.slice(-3)).toEqual(['policy', 'revocation', 'log']);
    expect(given).toMatchObject([{ accessToken: 'next token', refreshToken: 'next refresh token' }]);
  });

  test('by the access token while that is good, and the refresh token stays', async () => {
    const session = {
      ...(await login(trust, { credential })),
      accessTokenExpiresAt: Date.now() / 1000 + 600,
      refreshToken: 'mine',
      refreshTokenExpiresAt: future,
    };
    lie = () => ({ refreshToken: '', refreshTokenExpiresAt: 0n });
    const renewed = await renew(trust, session, { enclaveGone: true });
    expect(requests[1]!.credential).toMatchObject({ $case: 'accessToken' });
    expect(renewed).toMatchObject({ refreshToken: 'mine', refreshTokenExpiresAt: future });
  });

  test('and its new tokens are told even when the evidence that came with them is refused', async () => {
    const session = { ...(await login(trust, { credential })), accessTokenExpiresAt: past };
    lie = () => ({ evidence: session.evidence });
    const given: SessionTokens[] = [];
    await expect(
      renew(trust, session, { enclaveGone: true, onTokens: (tokens) => void given.push(tokens) }),
    ).rejects.toBeInstanceOf(AttestationRefused);
    expect(given).toHaveLength(1);
  });

  test('or has ended', async () => {
    const session = { ...(await login(trust, { credential })), accessTokenExpiresAt: past, refreshToken: undefined };
    await expect(renew(trust, session, { enclaveGone: true })).toRejectWithCode('login.session_over');
  });
});
