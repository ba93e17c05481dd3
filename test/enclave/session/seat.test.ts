import { createPrivateKey, createPublicKey, randomBytes, randomUUID, webcrypto, X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import { readdir } from 'node:fs/promises';
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import type { TLSSocket } from 'node:tls';
import { Metadata } from '@grpc/grpc-js';
import type { ClientDuplexStream } from '@grpc/grpc-js';
import { importPKCS8, SignJWT } from 'jose';
import { SingleUseCredentials } from '../../../client/connect/credentials';
import { connectAttestedTls } from '../../../client/connect/tls';
import { createAuthority, openAuthority } from '../../../licensing/authority/authority';
import { newNonce } from '../../../attestation/certificates/proof';
import { channelBinding } from '../../../runtime/rpc/channel-binding';
import { callUnary } from '../../../runtime/rpc/client';
import { fromServiceError, isServiceError } from '../../../runtime/rpc/errors';
import { verifyClosing, verifyHeartbeat } from '../../../attestation/seats/statements';
import { SEAT_TOKEN_TYPE } from '../../../attestation/seats/token';
import type { SeatClaims } from '../../../attestation/seats/token';
import { generateTokenKeys, readTokenKeys } from '../../../licensing/tokens/keys';
import type { ClosedSeat, Closing } from '../../../proto/gen/licensing/v1/seat';
import { SessionServiceClient } from '../../../proto/gen/licensing/v1/session';
import type { ExecRequest, ExecResponse } from '../../../proto/gen/licensing/v1/session';
import { MovedClock } from '../../support/clock';
import { startEnclaveFixture } from '../../support/enclave';
import type { EnclaveFixture } from '../../support/enclave';
import { TRUST_DOMAIN } from '../../support/evidence';
import { eventually } from '../../support/eventually';
import { newClientKey } from '../../support/login-client';
import { connectUnchecked, isServed } from '../../support/session-client';
import { issueClientCertificate } from '../../../licensing/authority/client';
import { issueSeatSigner } from '../../../licensing/authority/seat-signer';
import type { SeatSigner } from '../../../licensing/authority/seat-signer';
import { issueSeatToken } from '../../../licensing/seats/issue-token';

/** Longer than any test takes: these seats lapse when the clock is moved. */
const SEAT_SECONDS = 600;
const GRACE_SECONDS = 900;

const clock = new MovedClock();
let fixture: EnclaveFixture;
let signer: SeatSigner;
const open: SessionServiceClient[] = [];

beforeAll(async () => {
  fixture = await startEnclaveFixture({ clock, settings: { SEATS: 'required', SEAT_GRACE_SECONDS: GRACE_SECONDS } });
  signer = await issueSeatSigner(await openAuthority(fixture.clientAuthority), {
    trustDomain: TRUST_DOMAIN,
    seconds: 36_000,
  });
});
afterEach(() => {
  for (const client of open.splice(0)) client.close();
});
afterAll(() => fixture.stop());

interface Opened {
  client: SessionServiceClient;
  claims: SeatClaims;
  enclaveKey: Buffer;
}

const inSeconds = (seconds: number): number => Math.floor(clock.now() / 1000) + seconds;

/** A connection that has attested, and what a seat token for it says. */
async function connection({ attest = true } = {}): Promise<Opened> {
  const { clientKey, clientCertificates, evidence, enclave } = await fixture.session();
  let socket: TLSSocket | undefined;
  const credentials = new SingleUseCredentials(
    async (dialled) =>
      (socket = await connectAttestedTls(dialled, {
        certificate: evidence.enclaveCertificate,
        clientKey,
        clientCertificates,
        trustDomain: TRUST_DOMAIN,
      })),
  );
  const client = new SessionServiceClient(enclave.tlsAddress, credentials);
  open.push(client);
  if (attest)
    expect(await callUnary(client, client.attest, { nonce: newNonce() }, { timeout: 120_000 })).toMatchObject({
      seatRequired: true,
    });
  else
    await new Promise<void>((resolve, reject) =>
      client.waitForReady(Date.now() + 5_000, (error) => (error ? reject(error) : resolve())),
    );
  const { user, workloadUid } = fixture;
  const claims = {
    seat: randomUUID(),
    user,
    workloadUid,
    tlsExporter: channelBinding(socket as TLSSocket),
    expiresAt: inSeconds(SEAT_SECONDS),
  };
  return {
    client,
    claims,
    enclaveKey: new X509Certificate(evidence.enclaveCertificate).publicKey.export({ type: 'spki', format: 'der' }),
  };
}

const hold = ({ client }: Opened, token: string): Promise<unknown> =>
  callUnary(client, client.holdSeat, { token }, { timeout: 120_000 });
const token = (claims: SeatClaims, by = signer, trustDomain = TRUST_DOMAIN): Promise<string> =>
  issueSeatToken(by, claims, { trustDomain });
const beat = ({ client }: Opened) => callUnary(client, client.signHeartbeat, {}, { timeout: 120_000 });

interface Ran {
  call: ClientDuplexStream<ExecRequest, ExecResponse>;
  stdout: string;
  stderr: string;
  /** The exit code, or the code of the refusal. */
  ended: Promise<number | string>;
}

function run({ client }: Opened, ...argv: string[]): Ran {
  const call = client.exec(new Metadata());
  const ran: Ran = { call, stdout: '', stderr: '', ended: Promise.resolve('') };
  ran.ended = new Promise((resolve) => {
    call.on('data', ({ output }: ExecResponse) => {
      if (output?.$case === 'stdout') ran.stdout += output.value.toString();
      if (output?.$case === 'stderr') ran.stderr += output.value.toString();
      if (output?.$case === 'exit') resolve(output.value.code);
    });
    call.on('error', (error) => resolve(isServiceError(error) ? fromServiceError(error).code : String(error)));
  });
  call.write({
    input: { $case: 'start', value: { argv, env: {}, directory: '', terminal: undefined, detach: false } },
  });
  return ran;
}

async function putCode({ client }: Opened, path: string): Promise<string> {
  return new Promise((resolve) => {
    const call = client.putFile(new Metadata(), (error) => resolve(error ? fromServiceError(error).code : 'ok'));
    call.write({ part: { $case: 'header', value: { path, mode: 0o644, size: 0n } } });
    call.end();
  });
}

async function getCode({ client }: Opened, path: string): Promise<string> {
  return new Promise((resolve) => {
    const call = client.getFile({ path }, new Metadata());
    call.on('data', () => resolve('ok'));
    call.on('error', (error) => resolve(isServiceError(error) ? fromServiceError(error).code : String(error)));
  });
}

interface PortCall {
  connected: Promise<unknown>;
  isOpen: boolean;
  /** The code of what ended it. */
  ended: Promise<string>;
}

function openPort({ client }: Opened, { port }: Pick<AddressInfo, 'port'>): PortCall {
  const call = client.forward(new Metadata());
  const connected = new Promise((resolve) => call.once('data', resolve));
  const ended = new Promise<string>((resolve) =>
    call.on('error', (error) => {
      opened.isOpen = false;
      resolve(isServiceError(error) ? fromServiceError(error).code : String(error));
    }),
  );
  const opened = { connected, isOpen: true, ended };
  call.write({ part: { $case: 'target', value: { place: { $case: 'tcp', value: { host: 'localhost', port } } } } });
  return opened;
}

const codes = async (opened: Opened): Promise<unknown[]> => [
  await run(opened, 'touch', 'made').ended,
  await putCode(opened, 'made'),
  await getCode(opened, '/etc/passwd'),
  await openPort(opened, { port: 1 }).ended,
];

test('without a seat nothing runs and no file moves; how the enclave is may be asked', async () => {
  const opened = await connection();
  expect(await codes(opened)).toEqual(Array(4).fill('seat.required'));
  expect(await readdir(fixture.workspace)).toEqual([]);
  await callUnary(opened.client, opened.client.getStatus, {}, { timeout: 120_000 });
  await expect(beat(opened)).toRejectWithCode('seat.required');
});

test('with a seat of this very session everything works', async () => {
  const opened = await connection();
  await hold(opened, await token(opened.claims));
  expect([await run(opened, 'true').ended, await putCode(opened, 'there'), await getCode(opened, 'there')]).toEqual([
    0,
    'ok',
    'ok',
  ]);
});

test('a seat is nothing without the evidence before it', async () => {
  const opened = await connection({ attest: false });
  await expect(hold(opened, await token(opened.claims))).toRejectWithCode('session.not_attested');
});

describe('a session that is closed', () => {
  const close = ({ client }: Opened) => callUnary(client, client.closeSession, {}, { timeout: 120_000 });
  const closedSeats = async ({ client }: Opened): Promise<ClosedSeat[]> =>
    (await callUnary(client, client.attest, { nonce: newNonce() }, { timeout: 120_000 })).closedSeats;
  const isSigned = ({ claims, enclaveKey }: Opened, closing: Closing | undefined): boolean => {
    const { seat, tlsExporter } = claims;
    const statement = { trustDomain: TRUST_DOMAIN, seat, tlsExporter, at: Number(closing!.at) };
    return verifyClosing(enclaveKey, statement, closing!.signature);
  };

  test("says so in its enclave's name once nothing runs by its seat, and runs nothing more, whatever token is shown", async () => {
    const opened = await connection();
    const shown = await token(opened.claims);
    await hold(opened, shown);
    // Takes no SIGTERM.
    const stubborn = run(opened, 'sh', '-c', 'trap "" TERM; echo $$; while :; do sleep 0.1; done');
    await eventually(() => stubborn.stdout.includes('\n'));
    const pid = Number(stubborn.stdout);
    const { closing } = await close(opened);
    expect(() => process.kill(pid, 0)).toThrow('ESRCH');
    expect(isSigned(opened, closing)).toBe(true);
    for (const again of [shown, await token({ ...opened.claims, expiresAt: inSeconds(SEAT_SECONDS + 60) })])
      await expect(hold(opened, again)).toRejectWithCode('session.closed');
    expect(await codes(opened)).toEqual(Array(4).fill('session.closed'));
    await expect(beat(opened)).toRejectWithCode('session.closed');
    // Asked again, it says the same.
    expect((await close(opened)).closing).toEqual(closing);
  });

  test('that never had a seat has nothing to say, and gets none', async () => {
    const opened = await connection();
    expect(await close(opened)).toEqual({ closing: undefined });
    await expect(hold(opened, await token(opened.claims))).toRejectWithCode('session.closed');
  });

  test('by the loss of its connection is told to the next client, with its signature, also when its last token has ended', async () => {
    const killed = await connection();
    killed.claims.expiresAt = inSeconds(60);
    await hold(killed, await token(killed.claims));
    killed.client.close();
    const next = await connection();
    const told = await eventually(async () =>
      (await closedSeats(next)).find(({ seat }) => seat === killed.claims.seat),
    );
    expect(isSigned(killed, told.closing)).toBe(true);
    // An open one is not among them.
    await hold(next, await token(next.claims));
    expect((await closedSeats(next)).map(({ seat }) => seat)).not.toContain(next.claims.seat);
    clock.advance(61_000);
    expect((await closedSeats(await connection())).map(({ seat }) => seat)).toContain(killed.claims.seat);
  });
});

describe('a token opens nothing', () => {
  const refused = async (opened: Opened, shown: string, code: string): Promise<void> => {
    await expect(hold(opened, shown)).rejects.toMatchObject({ code });
    expect(await codes(opened)).toEqual(Array(4).fill('seat.required'));
  };

  test('of another user, of another workload, of another session of the same user', async () => {
    const opened = await connection();
    await refused(opened, await token({ ...opened.claims, user: randomUUID() }), 'seat.other_user');
    await refused(opened, await token({ ...opened.claims, workloadUid: randomUUID() }), 'seat.other_workload');
    const other = await connection();
    await hold(other, await token(other.claims));
    await refused(opened, await token(other.claims), 'seat.other_session');
    await refused(opened, await token({ ...opened.claims, tlsExporter: randomBytes(32) }), 'seat.other_session');
  });

  test('that has expired', async () => {
    const opened = await connection();
    await refused(opened, await token({ ...opened.claims, expiresAt: inSeconds(-10) }), 'seat.token_expired');
  });

  test('by a signer of another authority, by a signer that is over, for another installation', async () => {
    const opened = await connection();
    const foreign = await openAuthority(
      await createAuthority({ commonName: 'client CA', trustDomain: TRUST_DOMAIN, years: 1 }),
    );
    await refused(
      opened,
      await token(opened.claims, await issueSeatSigner(foreign, { trustDomain: TRUST_DOMAIN, seconds: 600 })),
      'seat.token_invalid',
    );
    const own = await openAuthority(fixture.clientAuthority);
    await refused(
      opened,
      await token(
        opened.claims,
        await issueSeatSigner(own, { trustDomain: TRUST_DOMAIN, seconds: 60, now: new Date(Date.now() - 3_600_000) }),
      ),
      'seat.token_invalid',
    );
    await refused(opened, await token(opened.claims, signer, 'other.test'), 'seat.token_invalid');
    await refused(
      opened,
      await token(opened.claims, await issueSeatSigner(own, { trustDomain: 'other.test', seconds: 600 })),
      'seat.token_invalid',
    );
  });

  test('signed with the key of a client, whose certificate is by the same authority', async () => {
    const opened = await connection();
    const { privateKey, csr } = await newClientKey();
    const [certificate] = await issueClientCertificate(fixture.clientAuthority, csr, {
      user: fixture.user,
      session: randomUUID(),
      trustDomain: TRUST_DOMAIN,
      seconds: 600,
    });
    const key = (await importPKCS8(
      privateKey.export({ type: 'pkcs8', format: 'pem' }) as string,
      'ES256',
    )) as SeatSigner['key'];
    await refused(opened, await token(opened.claims, { key, certificate: certificate! }), 'seat.token_invalid');
  });

  test('that was changed, is of another kind, names no signer, or is none', async () => {
    const opened = await connection();
    const good = await token(opened.claims);
    const [header = '', , signature = ''] = good.split('.');
    const [, payload = ''] = (await token({ ...opened.claims, expiresAt: inSeconds(6000) })).split('.');
    await refused(opened, `${header}.${payload}.${signature}`, 'seat.token_invalid');
    const claims = {
      workload: opened.claims.workloadUid,
      tls_exporter: opened.claims.tlsExporter.toString('base64url'),
    };
    const jwt = (): SignJWT =>
      new SignJWT(claims)
        .setIssuer(`spiffe://${TRUST_DOMAIN}/seats`)
        .setAudience(TRUST_DOMAIN)
        .setSubject(fixture.user)
        .setJti(randomUUID())
        .setExpirationTime('1 min');
    const x5c = [signer.certificate.toString('base64')];
    await refused(
      opened,
      await jwt().setProtectedHeader({ alg: 'ES256', typ: 'at+jwt', x5c }).sign(signer.key),
      'seat.token_invalid',
    );
    await refused(
      opened,
      await jwt()
        .setProtectedHeader({ alg: 'HS256', typ: SEAT_TOKEN_TYPE, x5c })
        .sign(
          createPublicKey(
            new X509Certificate(signer.certificate).publicKey.export({ type: 'spki', format: 'pem' }),
          ).export({ type: 'spki', format: 'der' }),
        ),
      'seat.token_invalid',
    );
    const { signing } = await readTokenKeys(await generateTokenKeys());
    await refused(
      opened,
      await jwt().setProtectedHeader({ alg: 'ES256', typ: SEAT_TOKEN_TYPE, kid: signing.kid }).sign(signing.key),
      'seat.token_invalid',
    );
    await refused(
      opened,
      await jwt().setProtectedHeader({ alg: 'ES256', typ: SEAT_TOKEN_TYPE, x5c }).sign(signing.key),
      'seat.token_invalid',
    );
    for (const rubbish of ['', 'a.b.c', 'x'.repeat(9_000)]) await refused(opened, rubbish, 'seat.token_invalid');
  });

  test('good in itself, of whom the enclave has a newer one', async () => {
    const opened = await connection();
    await hold(opened, await token({ ...opened.claims, expiresAt: inSeconds(2 * SEAT_SECONDS) }));
    await hold(opened, await token(opened.claims));
    clock.advance(SEAT_SECONDS * 1000);
    expect(await run(opened, 'true').ended).toBe(0);
  });
});

test('whoever signs seats gets into no enclave by that certificate', async () => {
  const clientKey = Buffer.from(await webcrypto.subtle.exportKey('pkcs8', signer.key));
  const pem = createPrivateKey({ key: clientKey, format: 'der', type: 'pkcs8' }).export({
    type: 'pkcs8',
    format: 'pem',
  }) as string;
  const { ports } = fixture.enclave;
  expect(
    await isServed(connectUnchecked({ clientKey: pem, clientCertificates: [signer.certificate] }, ports.tls!)),
  ).toBe(false);
  const { clientCertificates, clientKey: own } = await fixture.session();
  expect(await isServed(connectUnchecked({ clientKey: own, clientCertificates }, ports.tls!))).toBe(true);
});

test('heartbeats are about this seat and session, of now, by the key of the attested certificate', async () => {
  const opened = await connection();
  await hold(opened, await token(opened.claims));
  const before = clock.now();
  const { heartbeat } = await beat(opened);
  const { seat, tlsExporter } = opened.claims;
  const at = Number(heartbeat!.at);
  expect(at).toBeGreaterThanOrEqual(before);
  expect(at).toBeLessThanOrEqual(clock.now());
  expect(verifyHeartbeat(opened.enclaveKey, { seat, tlsExporter, at }, heartbeat!.signature)).toBe(true);
  for (const wrong of [
    { seat: randomUUID(), tlsExporter, at },
    { seat, tlsExporter: randomBytes(32), at },
    { seat, tlsExporter, at: at + 1 },
  ]) {
    expect(verifyHeartbeat(opened.enclaveKey, wrong, heartbeat!.signature)).toBe(false);
  }
});

describe('when a seat lapses', () => {
  test('nothing new begins; what runs is told when it will be ended, goes on until then, and is ended', async () => {
    const opened = await connection();
    await hold(opened, await token(opened.claims));
    const ran = run(opened, 'sh', '-c', 'trap "echo asked; exit 3" TERM; echo running; while :; do sleep 0.05; done');
    await eventually(() => ran.stdout === 'running\n');
    const program = createServer((socket) => socket.on('error', () => undefined)).listen(0, '127.0.0.1');
    await once(program, 'listening');
    const port = openPort(opened, program.address() as AddressInfo);
    await port.connected;
    const before = clock.now();
    clock.advance(SEAT_SECONDS * 1000);
    await eventually(() => ran.stderr.includes('lapsed'));
    const [, end = ''] =
      /^sls: the seat of this session has lapsed: nothing new is begun, and what runs is ended at (\S+) unless there is a seat again\n$/.exec(
        ran.stderr,
      ) ?? [];
    expect(Date.parse(end)).toBeGreaterThanOrEqual(before + (SEAT_SECONDS + GRACE_SECONDS) * 1000);
    expect(Date.parse(end)).toBeLessThanOrEqual(clock.now() + GRACE_SECONDS * 1000);
    expect(await codes(opened)).toEqual(Array(4).fill('seat.lapsed'));
    // It was asked to end, not killed, and not before its time.
    expect(ran.stdout).toBe('running\n');
    expect(port.isOpen).toBe(true);
    clock.advance(GRACE_SECONDS * 1000);
    expect(await ran.ended).toBe(3);
    expect(ran.stdout).toBe('running\nasked\n');
    expect(await port.ended).toBe('seat.lapsed');
    program.close();
    expect(ran.stderr).toContain('sls: the seat of this session has lapsed, and what ran is ended\n');
    // The connection stays, and a seat opens it again.
    expect((await beat(opened)).heartbeat).toBeDefined();
    await hold(opened, await token({ ...opened.claims, expiresAt: inSeconds(SEAT_SECONDS) }));
    expect(await run(opened, 'true').ended).toBe(0);
  });

  test('calls that were opened before and say only now what they are for begin nothing either', async () => {
    const opened = await connection();
    await hold(opened, await token(opened.claims));
    const exec = opened.client.exec(new Metadata());
    const started = new Promise((resolve) =>
      exec
        .on('error', (error) => resolve(isServiceError(error) ? fromServiceError(error).code : String(error)))
        .on('data', resolve),
    );
    let put: ReturnType<typeof opened.client.putFile> | undefined;
    const written = new Promise(
      (resolve) =>
        (put = opened.client.putFile(new Metadata(), (error) => resolve(error ? fromServiceError(error).code : 'ok'))),
    );
    // One connection carries all: an answer to what came last means that these calls are open.
    await beat(opened);
    clock.advance(SEAT_SECONDS * 1000);
    exec.write({
      input: {
        $case: 'start',
        value: { argv: ['touch', 'late'], env: {}, directory: '', terminal: undefined, detach: false },
      },
    });
    put!.write({ part: { $case: 'header', value: { path: 'late', mode: 0o644, size: 0n } } });
    put!.end();
    expect([await started, await written]).toEqual(['seat.lapsed', 'seat.lapsed']);
    expect(await readdir(fixture.workspace)).not.toContain('late');
  });

  test('a seat that is there again in time lets what runs go on', async () => {
    const opened = await connection();
    await hold(opened, await token(opened.claims));
    const ran = run(opened, 'sh', '-c', 'echo running; while [ ! -e go ]; do sleep 0.05; done; echo finished');
    await eventually(() => ran.stdout !== '');
    clock.advance(SEAT_SECONDS * 1000);
    await eventually(() => ran.stderr.includes('lapsed'));
    await hold(opened, await token({ ...opened.claims, expiresAt: inSeconds(2 * GRACE_SECONDS) }));
    expect(await run(opened, 'true').ended).toBe(0);
    clock.advance(GRACE_SECONDS * 1000);
    expect(await run(opened, 'touch', 'go').ended).toBe(0);
    expect(await ran.ended).toBe(0);
    expect(ran.stdout).toBe('running\nfinished\n');
  });
});

test('where seats are off, nobody needs one', async () => {
  const without = await startEnclaveFixture({ settings: { SEATS: 'off' } });
  try {
    const { clientKey, clientCertificates, evidence, enclave } = await without.session();
    const credentials = new SingleUseCredentials((dialled) =>
      connectAttestedTls(dialled, {
        certificate: evidence.enclaveCertificate,
        clientKey,
        clientCertificates,
        trustDomain: TRUST_DOMAIN,
      }),
    );
    const client = new SessionServiceClient(enclave.tlsAddress, credentials);
    open.push(client);
    expect(await callUnary(client, client.attest, { nonce: newNonce() }, { timeout: 120_000 })).toMatchObject({
      seatRequired: false,
    });
    expect(await run({ client } as Opened, 'true').ended).toBe(0);
  } finally {
    await without.stop();
  }
});
