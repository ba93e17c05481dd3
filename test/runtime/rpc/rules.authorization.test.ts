import { execFileSync } from 'node:child_process';
import { createPrivateKey, generateKeyPairSync, randomUUID } from 'node:crypto';
import { statSync } from 'node:fs';
import { dirname } from 'node:path';
import { Metadata } from '@grpc/grpc-js';
import { importJWK } from 'jose';
import type { CryptoKey, JWK } from 'jose';
import { createAuthority, openAuthority } from '../../../licensing/authority/authority';
import { newNonce, signProof } from '../../../attestation/certificates/proof';
import { RULES } from '../../../runtime/rpc/rules';
import type { Caller, Method } from '../../../runtime/rpc/rules';
import { signSeatProof } from '../../../attestation/seats/statements';
import { issueAccessToken } from '../../../licensing/tokens/access-token';
import { ADMIN_PROOF_KEY } from '../../../attestation/tokens/admin-proof';
import { generateTokenKeys, readTokenKeys } from '../../../licensing/tokens/keys';
import {
  ExchangeIdTokenRequest,
  LogOutRequest,
  SignUpRequest,
  SignUpResponse,
} from '../../../proto/gen/licensing/v1/account';
import { EnclaveServiceAttestRequest } from '../../../proto/gen/licensing/v1/enclave';
import { BeginEnrolmentRequest, CompleteEnrolmentRequest } from '../../../proto/gen/licensing/v1/enrol';
import { DropLicenceRequest, RedeemLicenceRequest } from '../../../proto/gen/licensing/v1/licence';
import { LoginRequest } from '../../../proto/gen/licensing/v1/login';
import type { PasswordCredential } from '../../../proto/gen/licensing/v1/login';
import { EndSeatRequest, RenewSeatRequest, TakeSeatRequest } from '../../../proto/gen/licensing/v1/seat';
import type { Heartbeat } from '../../../proto/gen/licensing/v1/seat';
import { eventually } from '../../support/eventually';
import { callAt, codecOf, EveryService, isFunctionOf, methodsFor } from '../../support/every-service';
import type { Outcome } from '../../support/every-service';
import { byPassword, byRefreshToken, byToken, loginRequest, newClientKey } from '../../support/login-client';
import { Machine, PASSWORD } from '../../support/machine';
import { OpenIdProvider } from '../../support/openid-provider';
import { connectUnchecked, isServed } from '../../support/session-client';
import { encodeEccPublic } from '../../support/tpm-structures';
import { issueAdminCertificate } from '../../../licensing/authority/admin';
import { issueClientCertificate } from '../../../licensing/authority/client';
import { issueSeatSigner } from '../../../licensing/authority/seat-signer';
import { issueSeatToken } from '../../../licensing/seats/issue-token';
import { signAdminProof } from '../../../client/cli/admin/proof';
import { issueWorkloadCredential } from '../../../launcher/workload-credential';

const REFUSED = ['UNAUTHENTICATED', 'PERMISSION_DENIED'];
/** Whose proto is there before its server is. A service that is served has to leave this list. */
const NOT_SERVED_YET: string[] = [];

let machine: Machine;
let services: EveryService;
let provider: OpenIdProvider;
beforeAll(async () => {
  machine = new Machine();
  provider = await OpenIdProvider.start();
  await machine.startService(provider.upOptions);
  await machine.signUpAndLogin('ada');
  services = new EveryService(machine);
});
afterAll(async () => {
  services.close();
  await machine.remove();
  await provider.goDown();
});

/** A caller who is not the one that the method is for. */
interface Stranger {
  is: string;
  request?: Buffer;
  metadata?: Metadata;
}

const EMPTY = Buffer.alloc(0);

function metadata(key: string, value: string): Metadata {
  const made = new Metadata();
  made.set(key, value);
  return made;
}
const bearer = (token: string): Metadata => metadata('authorization', `Bearer ${token}`);

/** A token of a session that has ended: both tokens are well made, and good for nothing. */
async function endedSession(): Promise<{ accessToken: string; refreshToken: string }> {
  const username = `gone-${Math.random().toString(36).slice(2)}`;
  const tokens = await unaryCall(
    '/licensing.v1.AccountService/SignUp',
    SignUpRequest.encode({ username, password: PASSWORD, clientName: '' }).finish(),
    (bytes) => SignUpResponse.decode(bytes),
  );
  await services.call(
    '/licensing.v1.AccountService/LogOut',
    Buffer.from(LogOutRequest.encode({ refreshToken: tokens.refreshToken, all: true }).finish()),
  );
  return tokens;
}

async function unaryCall<T>(method: Method, request: Uint8Array, decode: (bytes: Buffer) => T): Promise<T> {
  const answers: Buffer[] = [];
  const outcome = await services.call(method, Buffer.from(request), undefined, (bytes) => answers.push(bytes));
  if (!answers[0]) throw new Error(`${method}: ${outcome.code} ${outcome.details}`);
  return decode(answers[0]);
}

async function foreignToken(): Promise<string> {
  const keys = await readTokenKeys(await generateTokenKeys());
  const { user } = services.session.enclave;
  return (
    await issueAccessToken(
      keys,
      { user, session: randomUUID(), authenticatedAt: Math.floor(Date.now() / 1000) },
      { trustDomain: services.trustDomain },
    )
  ).token;
}

async function withoutAccessToken(): Promise<Stranger[]> {
  return [
    { is: 'nobody' },
    { is: 'someone with rubbish', metadata: bearer('rubbish') },
    { is: 'someone who signs tokens with a key of their own', metadata: bearer(await foreignToken()) },
    { is: 'a user whose session has ended', metadata: bearer((await endedSession()).accessToken) },
    { is: 'someone with a refresh token', metadata: bearer(services.session.refreshToken ?? '') },
  ];
}

async function withoutRefreshToken(method: Method): Promise<Stranger[]> {
  const { requestSerialize, requestDeserialize } = codecOf(method);
  const request = (refreshToken: string): Buffer => requestSerialize({ ...requestDeserialize(EMPTY), refreshToken });
  return [
    { is: 'nobody', request: request('') },
    { is: 'someone with rubbish', request: request('rubbish') },
    { is: 'someone with an access token', request: request(services.session.accessToken) },
    { is: 'a user whose session has ended', request: request((await endedSession()).refreshToken) },
  ];
}

async function notAdministrators(method: Method): Promise<Stranger[]> {
  const { trustDomain, administrator } = services;
  const foreignCa = await createAuthority({ commonName: 'another CA', trustDomain, years: 1 });
  const foreign = await issueAdminCertificate(foreignCa, { name: 'mallory', trustDomain, days: 1 });
  const proof = async (by: typeof foreign, path: string, request = EMPTY): Promise<Metadata> =>
    metadata(ADMIN_PROOF_KEY, await signAdminProof(by, { method: path, request }, { trustDomain }));
  return [
    { is: 'nobody' },
    { is: 'a user', metadata: bearer(services.session.accessToken) },
    { is: 'someone with rubbish', metadata: metadata(ADMIN_PROOF_KEY, 'rubbish') },
    { is: 'an administrator of another installation', metadata: await proof(foreign, method) },
    {
      is: "someone with an administrator's proof for another method",
      metadata: await proof(administrator, '/licensing.v1.AdminService/Other'),
    },
    {
      is: "someone with an administrator's proof for another request",
      metadata: await proof(administrator, method, Buffer.from([10, 1, 97])),
    },
  ];
}

async function withoutClientKey(method: Method): Promise<Stranger[]> {
  if (method === '/licensing.v1.SeatService/TakeSeat') return withoutSeatProof();
  const { session, trustDomain } = services;
  const nonce = newNonce();
  const key = await newClientKey();
  const certified = (user: string) =>
    issueClientCertificate(services.authority('client-ca'), key.csr, {
      user,
      session: randomUUID(),
      trustDomain,
      seconds: 600,
    });
  const request = (clientCertificates: Buffer[], proof: Buffer): Buffer =>
    Buffer.from(
      EnclaveServiceAttestRequest.encode({ nonce, clientCertificates, proof, includeEventLog: false }).finish(),
    );
  return [
    { is: 'nobody', request: request([], Buffer.alloc(64)) },
    { is: 'another user', request: request(await certified(randomUUID()), signProof(key.privateKey, nonce)) },
    {
      is: "someone who has the user's certificate but not the key",
      request: request(session.clientCertificates, signProof(key.privateKey, nonce)),
    },
    {
      is: "someone who has the user's signature over another nonce",
      request: request(session.clientCertificates, signProof(createPrivateKey(session.clientKey), newNonce())),
    },
  ];
}

async function withoutSeatProof(): Promise<Stranger[]> {
  const { session, trustDomain } = services;
  const { evidence, clientCertificates } = session;
  const key = await newClientKey();
  const foreignCa = await createAuthority({ commonName: 'another CA', trustDomain, years: 1 });
  const certificate = { user: session.enclave.user, session: randomUUID(), trustDomain, seconds: 600 };
  const request = (chain: Buffer[], proof: Buffer): Buffer =>
    Buffer.from(TakeSeatRequest.encode({ clientCertificates: chain, evidence, proof, closed: [] }).finish());
  return [
    { is: 'nobody', request: request([], Buffer.alloc(64)) },
    {
      is: "someone who certifies the user's clients by themselves",
      request: request(
        await issueClientCertificate(foreignCa, key.csr, certificate),
        signSeatProof(key.privateKey, evidence.claims),
      ),
    },
    {
      is: "someone who has the user's certificate but not the key",
      request: request(clientCertificates, signSeatProof(key.privateKey, evidence.claims)),
    },
    {
      is: "someone who has the user's signature over other claims",
      request: request(clientCertificates, signSeatProof(createPrivateKey(session.clientKey), EMPTY)),
    },
  ];
}

function withoutHeartbeat(): Stranger[] {
  const signature = Buffer.alloc(64);
  const request = (heartbeat: Heartbeat | undefined): Buffer =>
    Buffer.from(RenewSeatRequest.encode({ seat: randomUUID(), heartbeat, token: '' }).finish());
  return [
    { is: 'nobody', request: request(undefined) },
    { is: 'someone who makes heartbeats up', request: request({ at: BigInt(Date.now()), signature }) },
  ];
}

async function withoutSeatToken(): Promise<Stranger[]> {
  const { session, trustDomain } = services;
  const foreign = await issueSeatSigner(
    await openAuthority(await createAuthority({ commonName: 'another CA', trustDomain, years: 1 })),
    { trustDomain, seconds: 600 },
  );
  const claims = {
    seat: randomUUID(),
    user: session.enclave.user,
    workloadUid: session.enclave.workloadUid,
    tlsExporter: Buffer.alloc(32),
    expiresAt: Math.floor(Date.now() / 1000) + 60,
  };
  const request = (token: string): Buffer => Buffer.from(EndSeatRequest.encode({ token, closing: undefined }).finish());
  return [
    { is: 'nobody', request: request('') },
    { is: 'someone with rubbish', request: request('rubbish') },
    { is: 'someone with an access token', request: request(session.accessToken) },
    {
      is: 'someone who certifies signers of seats by themselves',
      request: request(await issueSeatToken(foreign, claims, { trustDomain })),
    },
  ];
}

/** TPMT_PUBLIC of an endorsement key (template L-2 of the TCG EK Credential Profile) that no maker has certified. */
function unknownEndorsementKey(): Buffer {
  const { x = '', y = '' } = generateKeyPairSync('ec', { namedCurve: 'P-256' }).publicKey.export({ format: 'jwk' });
  const template =
    '0023000b000300b20020837197674484b3f81a90cc8d46a5d724fd52d76e06520b64f2a1da1b331469aa000600800043001000030010';
  return Buffer.concat([
    Buffer.from(`${template}0020`, 'hex'),
    Buffer.from(x, 'base64url'),
    Buffer.from([0, 32]),
    Buffer.from(y, 'base64url'),
  ]);
}

function notTpms(method: Method): Stranger[] {
  if (method !== '/licensing.v1.EnrolService/BeginEnrolment') {
    const answer = (challenge: string): Buffer =>
      Buffer.from(CompleteEnrolmentRequest.encode({ challenge, secret: Buffer.alloc(32) }).finish());
    return [
      { is: 'nobody', request: answer('') },
      {
        is: 'someone with a challenge of their own',
        request: answer('eyJhbGciOiJkaXIiLCJlbmMiOiJBMjU2R0NNIn0..AAAA.AAAA.AAAA'),
      },
    ];
  }
  const akPublic = encodeEccPublic(generateKeyPairSync('ec', { namedCurve: 'P-256' }).publicKey);
  const request = BeginEnrolmentRequest.encode({
    node: 'mallory',
    ekPublic: unknownEndorsementKey(),
    ekCertificates: [],
    akPublic,
  }).finish();
  return [{ is: 'a TPM that nobody vouches for', request: Buffer.from(request) }];
}

async function notWorkloads(): Promise<Stranger[]> {
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const foreign = (await importJWK(
    { ...privateKey.export({ format: 'jwk' }), kid: 'foreign' } as JWK,
    'ES256',
  )) as CryptoKey;
  const workload = {
    user: services.session.enclave.user,
    workloadUid: randomUUID(),
    imageDigest: `sha256:${'0'.repeat(64)}`,
  };
  return [
    { is: 'nobody' },
    { is: 'someone with rubbish', metadata: bearer('rubbish') },
    { is: 'a workload of another launcher', metadata: bearer(await issueWorkloadCredential(foreign, workload)) },
    { is: 'a user', metadata: bearer(services.session.accessToken) },
  ];
}

async function withoutLicenceCredential(
  encode: (password: PasswordCredential | undefined) => { finish(): Uint8Array },
): Promise<Stranger[]> {
  const request = (username?: string, password = PASSWORD): Buffer =>
    Buffer.from(encode(username === undefined ? undefined : { username, password, knownSession: '' }).finish());
  return [
    { is: 'nobody', request: request() },
    { is: 'someone who guesses the password', request: request('ada', 'wrong horse battery staple') },
    { is: 'someone whom nobody knows', request: request('nobody-of-this-name') },
    {
      is: 'someone who signs tokens with a key of their own',
      request: request(),
      metadata: bearer(await foreignToken()),
    },
    { is: 'a user whose session has ended', request: request(), metadata: bearer((await endedSession()).accessToken) },
  ];
}

/** Where one of several credentials goes into the request, each method says how. */
const CREDENTIALS: {
  [M in Method as (typeof RULES)[M]['caller'] extends 'credential' ? M : never]: () => Promise<Stranger[]>;
} = {
  '/licensing.v1.LoginService/Login': async () => {
    const key = await newClientKey();
    const request = (credential: LoginRequest['credential']): Buffer =>
      Buffer.from(LoginRequest.encode(loginRequest(key, credential)).finish());
    const ended = await endedSession();
    return [
      { is: 'nobody', request: request(undefined) },
      { is: 'someone who guesses the password', request: request(byPassword('ada', 'wrong horse battery staple')) },
      { is: 'someone whom nobody knows', request: request(byPassword('nobody-of-this-name', PASSWORD)) },
      { is: 'someone who signs tokens with a key of their own', request: request(byToken(await foreignToken())) },
      { is: 'a user whose session has ended', request: request(byToken(ended.accessToken)) },
      {
        is: 'a user whose session has ended, with its refresh token',
        request: request(byRefreshToken(ended.refreshToken)),
      },
    ];
  },
  '/licensing.v1.AccountService/ExchangeIdToken': async () => {
    const request = (idToken: string): Buffer =>
      Buffer.from(ExchangeIdTokenRequest.encode({ idToken, username: '', oneTimeCode: '', clientName: '' }).finish());
    return [
      { is: 'nobody', request: request('') },
      { is: 'someone with rubbish', request: request('rubbish') },
      { is: 'someone with an access token', request: request(services.session.accessToken) },
      {
        is: 'someone who signs ID tokens with a key of their own',
        request: request(await provider.sign(provider.claims('ada'), { key: provider.foreignKey() })),
      },
      {
        is: 'someone with an ID token for another client',
        request: request(await provider.sign({ ...provider.claims('ada'), aud: 'another' })),
      },
    ];
  },
  '/licensing.v1.LicenceService/RedeemLicence': () =>
    withoutLicenceCredential((password) => RedeemLicenceRequest.encode({ key: 'a.b.c', password, oneTimeCode: '' })),
  '/licensing.v1.LicenceService/DropLicence': () =>
    withoutLicenceCredential((password) =>
      DropLicenceRequest.encode({ licence: randomUUID(), password, oneTimeCode: '' }),
    ),
};

type Demanding = Exclude<Caller, 'anyone' | 'socket owner' | 'session' | 'attested session'>;

const STRANGERS: Record<Demanding, (method: Method) => Stranger[] | Promise<Stranger[]>> = {
  'access token': withoutAccessToken,
  'refresh token': withoutRefreshToken,
  credential: (method) => CREDENTIALS[method as keyof typeof CREDENTIALS](),
  administrator: notAdministrators,
  'client key': withoutClientKey,
  heartbeat: withoutHeartbeat,
  'seat token': withoutSeatToken,
  TPM: notTpms,
  workload: notWorkloads,
};

/** Who was refused so far, by reason. */
const refused = new Map<string, number>();

const isServedYet = (method: Method): boolean => !NOT_SERVED_YET.some((name) => method.includes(`.${name}/`));

test.each(methodsFor(...(Object.keys(STRANGERS) as Demanding[])).filter(isServedYet))(
  '%s is refused to everyone whom it is not for',
  async (method) => {
    const strangers = await STRANGERS[RULES[method].caller as Demanding](method);
    const outcomes: Array<Stranger['is'] | { stranger: string; outcome: Outcome }> = [];
    for (const { is, request = EMPTY, metadata: sent } of strangers) {
      const outcome = await services.call(method, request, sent);
      if (isFunctionOf(method)) refused.set(outcome.reason, (refused.get(outcome.reason) ?? 0) + 1);
      // The methods' own words, not those of something between.
      outcomes.push(REFUSED.includes(outcome.code) && outcome.reason !== '' ? is : { stranger: is, outcome });
    }
    expect(outcomes).toEqual(strangers.map(({ is }) => is));
  },
);

test('each of these refusals, of whichever service, is counted for the audit', async () => {
  expect(refused.size).toBeGreaterThan(10);
  // Counts reach the database once a second.
  let missing: unknown[] = [];
  await eventually(
    async () => {
      const counted = await services.refusals();
      missing = [...refused]
        .filter(([reason, count]) => (counted.get(reason) ?? 0) < count)
        .map(([reason, count]) => ({ reason, count, counted: counted.get(reason) }));
      return missing.length === 0;
    },
    () => `all are counted, missing ${JSON.stringify(missing)}`,
  );
});

test('what is not served yet is served by nobody, and leaves the list when it is', async () => {
  for (const method of (Object.keys(RULES) as Method[]).filter((path) => !isServedYet(path))) {
    expect({ method, ...(await services.call(method, EMPTY)) }).toMatchObject({ method, code: 'UNIMPLEMENTED' });
  }
});

test('the right credential opens each kind of door', async () => {
  const { administrator, trustDomain, session } = services;
  const listNodes = '/licensing.v1.AdminService/ListNodes';
  const proof = await signAdminProof(administrator, { method: listNodes, request: EMPTY }, { trustDomain });
  expect(await services.call(listNodes, EMPTY, metadata(ADMIN_PROOF_KEY, proof))).toMatchObject({ code: 'OK' });
  expect(
    await services.call('/licensing.v1.AccountService/ListSessions', EMPTY, bearer(session.accessToken)),
  ).toMatchObject({ code: 'OK' });
  expect(await services.call('/licensing.v1.SessionService/GetStatus', EMPTY)).toMatchObject({ code: 'OK' });
});

test('a socket whose owner alone may call is closed to every other user of the machine', () => {
  expect(methodsFor('socket owner').length).toBeGreaterThan(0);
  const socket = services.socket('launcher');
  expect(statSync(socket).mode & 0o777).toBe(0o600);
  expect(statSync(dirname(socket)).mode & 0o777).toBe(0o700);
  if (process.getuid?.() !== 0) return;
  const dial = `require('net').connect(${JSON.stringify(socket)}).on('connect', () => process.exit(0)).on('error', (e) => process.exit(e.code === 'EACCES' ? 13 : 1))`;
  expect(() => execFileSync(process.execPath, ['-e', dial], { uid: 65534, gid: 65534, cwd: '/' })).toThrow(
    expect.objectContaining({ status: 13 }),
  );
});

test('a session is open to nobody without a client certificate of its user', async () => {
  const { session, trustDomain } = services;
  const port = Number(session.enclave.tlsAddress.split(':').pop());
  const key = await newClientKey();
  const clientKey = key.privateKey.export({ type: 'pkcs8', format: 'pem' }) as string;
  const certified = (authority: { certificate: string; privateKey: string }, user: string) =>
    issueClientCertificate(authority, key.csr, { user, session: randomUUID(), trustDomain, seconds: 600 });
  const foreignCa = await createAuthority({ commonName: 'another CA', trustDomain, years: 1 });
  const another = await certified(services.authority('client-ca'), randomUUID());
  const forged = await certified(foreignCa, session.enclave.user);
  expect(await isServed(connectUnchecked({}, port))).toBe(false);
  expect(await isServed(connectUnchecked({ clientKey, clientCertificates: another }, port))).toBe(false);
  expect(await isServed(connectUnchecked({ clientKey, clientCertificates: forged }, port))).toBe(false);
  expect(await isServed(connectUnchecked(session, port))).toBe(true);
});

test.each(methodsFor('attested session'))(
  '%s is refused on a connection whose client has not seen its evidence',
  async (method) => {
    const client = await services.openSession({ attested: false });
    try {
      expect(await callAt(client, method, EMPTY)).toMatchObject({
        code: 'FAILED_PRECONDITION',
        reason: 'session.not_attested',
      });
    } finally {
      client.close();
    }
  },
);

test.each((Object.keys(RULES) as Method[]).filter((method) => !method.startsWith('/grpc.') && isServedYet(method)))(
  '%s refuses a request beyond its size',
  async (method) => {
    const { requestBytes, caller } = RULES[method];
    // Only a workload's stream is read at all.
    const sent = caller === 'workload' ? bearer(await services.workloadCredential()) : undefined;
    expect(await services.call(method, Buffer.alloc(requestBytes + 1), sent)).toMatchObject({
      code: 'RESOURCE_EXHAUSTED',
    });
  },
);
