import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { connect as connectTcp, createServer as createTcpServer } from 'node:net';
import type { AddressInfo, Server } from 'node:net';
import { createServer as createTlsServer } from 'node:tls';
import type { TlsOptions } from 'node:tls';
import { PassThrough, Readable } from 'node:stream';
import { Server as GrpcServer, ServerCredentials } from '@grpc/grpc-js';
import { AttestationRefused, connect } from '../../../client/index';
import type { EnclaveConnection, Session } from '../../../client/index';
import { parseAddress } from '../../../runtime/rpc/address';
import { RpcError } from '../../../runtime/rpc/errors';
import { bind, bidiStream, clientStream, serverStream, unary } from '../../../runtime/rpc/handlers';
import { Calls } from '../../../runtime/rpc/calls';
import { startServer } from '../../../runtime/rpc/server';
import type { RunningServer } from '../../../runtime/rpc/server';
import { makeIdentity } from '../../../enclave/identity';
import type { Identity } from '../../../enclave/identity';
import type * as IdentityModuleNamespace from '../../../enclave/identity';
import { EnclaveServiceService } from '../../../proto/gen/licensing/v1/enclave';
import { Purpose } from '../../../proto/gen/licensing/v1/evidence';
import type { Evidence } from '../../../proto/gen/licensing/v1/evidence';
import { SessionServiceClient, SessionServiceService } from '../../../proto/gen/licensing/v1/session';
import { SingleUseCredentials } from '../../../client/connect/credentials';
import { connectAttestedTls } from '../../../client/connect/tls';
import { callUnary } from '../../../runtime/rpc/client';
import { startEnclaveFixture } from '../../support/enclave';
import type { EnclaveFixture } from '../../support/enclave';
import { makeEvidence, makeFakeTpm, TRUST_DOMAIN } from '../../support/evidence';

type IdentityModule = typeof IdentityModuleNamespace;

// The enclave's key never leaves it: for the attacker to have it, the test takes it as it is made.
const made: Identity[] = [];
jest.mock('../../../enclave/identity', () => {
  const actual = jest.requireActual<IdentityModule>('../../../enclave/identity');
  return {
    ...actual,
    makeIdentity: async (trustDomain: string) => {
      const identity = await actual.makeIdentity(trustDomain);
      made.push(identity);
      return identity;
    },
  };
});

let fixture: EnclaveFixture;
let enclaveIdentity: Identity;
const cleanups: Array<() => unknown> = [];
beforeAll(async () => {
  fixture = await startEnclaveFixture();
  enclaveIdentity = made[0]!;
});
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});
afterAll(() => fixture.stop());

interface Attacker {
  port: number;
  /** Calls that reached it through TLS, by name. */
  calls: string[];
  /** TLS connections that it could read. */
  connections: number;
}

/** Ends the client's TLS with `identity` and serves SessionService itself; `attest` is where the evidence comes from. */
async function startAttacker(
  identity: Identity,
  attest: (nonce: Buffer) => Promise<Evidence | undefined>,
  tls: TlsOptions = { minVersion: 'TLSv1.3' },
): Promise<Attacker> {
  const attacker: Attacker = { port: 0, calls: [], connections: 0 };
  const note = (name: string): Promise<never> => {
    attacker.calls.push(name);
    return Promise.reject(new RpcError('rpc.unknown', 2, 'thank you'));
  };
  const grpc = new GrpcServer();
  grpc.addService(
    SessionServiceService,
    bind(
      {
        attest: unary(async ({ nonce }: { nonce: Buffer }) => {
          attacker.calls.push('attest');
          return { evidence: await attest(nonce), seatRequired: false, closedSeats: [] };
        }),
        exec: bidiStream(() => note('exec')),
        putFile: clientStream(() => note('putFile')),
        getFile: serverStream(() => note('getFile')),
        forward: bidiStream(() => note('forward')),
        getStatus: unary(() => note('getStatus')),
      },
      new Calls(),
    ),
  );
  const injector = grpc.createConnectionInjector(ServerCredentials.createInsecure());
  const server = createTlsServer(
    {
      key: identity.privateKey,
      cert: identity.certificatePem,
      requestCert: true,
      rejectUnauthorized: false,
      ALPNProtocols: ['h2'],
      ...tls,
    },
    (socket) => {
      attacker.connections += 1;
      socket.on('error', () => undefined);
      injector.injectConnection(socket);
    },
  );
  server.on('tlsClientError', () => undefined);
  attacker.port = await listen(server);
  cleanups.push(() => grpc.forceShutdown());
  return attacker;
}

async function listen(server: Server): Promise<number> {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  cleanups.push(() => server.close());
  return (server.address() as AddressInfo).port;
}

/** EnclaveService of an attacker's own, which hands out `certificate`. */
async function startEndpoint(certificate: Buffer): Promise<string> {
  const refuse = (): Promise<never> => Promise.reject(new RpcError('rpc.unknown', 2, 'no'));
  const server: RunningServer = await startServer({
    address: parseAddress('http://127.0.0.1:0'),
    services: [
      {
        definition: EnclaveServiceService,
        implementation: {
          attest: unary(refuse),
          getCertificate: unary(() => Promise.resolve({ certificate })),
          tunnel: bidiStream(refuse),
        },
      },
    ],
  });
  cleanups.push(() => server.stop(0));
  return `http://127.0.0.1:${server.port}`;
}

function redirect(session: Session, changes: Partial<Session['enclave']>): Session {
  return { ...session, enclave: { ...session.enclave, ...changes } };
}

/** Connects as a user would, who then sends something. */
async function use(session: Session): Promise<void> {
  let connection: EnclaveConnection | undefined;
  try {
    connection = await connect(fixture.trust, session);
    await connection.exec(['cat'], {
      stdin: Readable.from([Buffer.from('secret of the user')]),
      stdout: new PassThrough(),
      stderr: process.stderr,
    });
  } finally {
    connection?.close();
  }
}

async function refusal(session: Session): Promise<AttestationRefused> {
  const error: unknown = await use(session).then(
    () => new Error('expected a refusal'),
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(AttestationRefused);
  return error as AttestationRefused;
}

/** The attacker's own connection to the real enclave, with the client's key and certificate in its hands as well. */
async function attestAtEnclave(session: Session, nonce: Buffer): Promise<Evidence | undefined> {
  const target = session.enclave.tlsAddress;
  const { clientKey, clientCertificates } = session;
  const credentials = new SingleUseCredentials((dialled) =>
    connectAttestedTls(dialled, {
      certificate: enclaveIdentity.certificate,
      clientKey,
      clientCertificates,
      trustDomain: TRUST_DOMAIN,
    }),
  );
  const client = new SessionServiceClient(target, credentials);
  cleanups.push(() => client.close());
  return (await callUnary(client, client.attest, { nonce }, { timeout: 120_000 })).evidence;
}

describe('a man in the middle', () => {
  test("with the enclave's TLS key, who forwards nonce and quote: the client leaves, because the TLS exporter differs", async () => {
    const session = await fixture.session();
    const attacker = await startAttacker(enclaveIdentity, (nonce) => attestAtEnclave(session, nonce));
    const error = await refusal(redirect(session, { tlsAddress: `127.0.0.1:${attacker.port}` }));
    expect(error).toMatchObject({ phase: 'session', step: 'session', code: 'session.exporter' });
    expect(attacker.calls).toEqual(['attest']);
  });

  test("with the enclave's TLS key and a session's evidence of before: refused", async () => {
    const session = await fixture.session();
    const old = await attestAtEnclave(session, Buffer.alloc(32, 1));
    const attacker = await startAttacker(enclaveIdentity, () => Promise.resolve(old));
    expect(await refusal(redirect(session, { tlsAddress: `127.0.0.1:${attacker.port}` }))).toMatchObject({
      code: 'freshness.nonce',
    });
    expect(attacker.calls).toEqual(['attest']);
  });

  test("with the enclave's TLS key and evidence of the other purpose: refused", async () => {
    const session = await fixture.session();
    const attacker = await startAttacker(enclaveIdentity, (nonce) =>
      Promise.resolve(
        makeEvidence(fixture.attestor.tpm, {
          claims: { purpose: Purpose.PURPOSE_CERTIFICATE, nonce, user: fixture.user, workloadUid: fixture.workloadUid },
          enclaveCertificate: enclaveIdentity.certificate,
        }),
      ),
    );
    expect(await refusal(redirect(session, { tlsAddress: `127.0.0.1:${attacker.port}` }))).toMatchObject({
      phase: 'session',
      code: 'freshness.purpose',
    });
  });

  test("with the enclave's TLS key and no evidence: refused", async () => {
    const session = await fixture.session();
    const attacker = await startAttacker(enclaveIdentity, () => Promise.resolve(undefined));
    expect(await refusal(redirect(session, { tlsAddress: `127.0.0.1:${attacker.port}` }))).toMatchObject({
      code: 'evidence.missing',
    });
    expect(attacker.calls).toEqual(['attest']);
  });

  test('with a certificate of its own: TLS is left before a byte goes through it', async () => {
    const session = await fixture.session();
    const attacker = await startAttacker(await makeIdentity(TRUST_DOMAIN), () => Promise.resolve(undefined));
    const error = await refusal(redirect(session, { tlsAddress: `127.0.0.1:${attacker.port}` }));
    expect(error).toMatchObject({ phase: 'connection', step: 'connection', code: 'connection.certificate_mismatch' });
    expect(attacker.calls).toEqual([]);
  });

  test('who hands out a certificate of its own: not even connected to', async () => {
    const identity = await makeIdentity(TRUST_DOMAIN);
    const session = await fixture.session();
    const attacker = await startAttacker(identity, () => Promise.resolve(undefined));
    const endpoint = await startEndpoint(identity.certificate);
    const error = await refusal(redirect(session, { endpoint, tlsAddress: `127.0.0.1:${attacker.port}` }));
    expect(error).toMatchObject({ step: 'certificate', code: 'certificate.mismatch' });
    expect(attacker.connections).toBe(0);
  });

  test('who speaks TLS 1.2 only: refused', async () => {
    const session = await fixture.session();
    const attacker = await startAttacker(enclaveIdentity, () => Promise.resolve(undefined), {
      minVersion: 'TLSv1.2',
      maxVersion: 'TLSv1.2',
    });
    await expect(use(redirect(session, { tlsAddress: `127.0.0.1:${attacker.port}` }))).toRejectWithCode(
      'connection.protocol',
    );
    expect(attacker.connections).toBe(0);
  });

  test("behind the tunnel's route: the same refusal", async () => {
    const session = await fixture.session({ tunnel: true });
    const other = await startEnclaveFixture();
    cleanups.push(() => other.stop());
    await expect(
      use(redirect(session, { endpoint: `http://127.0.0.1:${other.enclave.ports.listen}` })),
    ).toRejectWithCode('certificate.mismatch');
  });
});

describe('evidence that is good and about something else', () => {
  test("another enclave of the user's answers inside the connection: refused", async () => {
    const session = await fixture.session();
    fixture.attestor.answer = (request, claims) =>
      makeEvidence(fixture.attestor.tpm, {
        claims: { ...claims, workloadUid: randomUUID() },
        enclaveCertificate: request.certificate,
      });
    cleanups.push(
      () =>
        (fixture.attestor.answer = (request, claims) =>
          makeEvidence(fixture.attestor.tpm, { claims, enclaveCertificate: request.certificate })),
    );
    expect(await refusal(session)).toMatchObject({ phase: 'session', code: 'identity.workload' });
  });

  test('another image inside the connection than before it: refused', async () => {
    const session = await fixture.session();
    fixture.attestor.answer = (request, claims) =>
      makeEvidence(fixture.attestor.tpm, {
        claims: { ...claims, imageDigest: `sha256:${'0'.repeat(64)}` },
        enclaveCertificate: request.certificate,
      });
    cleanups.push(
      () =>
        (fixture.attestor.answer = (request, claims) =>
          makeEvidence(fixture.attestor.tpm, { claims, enclaveCertificate: request.certificate })),
    );
    expect(await refusal(session)).toMatchObject({ phase: 'session', code: 'identity.image' });
  });

  test('a quote from a second enrolled node, same PCRs, for this user: refused', async () => {
    const second = await makeFakeTpm({ authority: fixture.attestor.tpm.authority, node: 'node-b' });
    fixture.attestor.answer = (request, claims) =>
      makeEvidence(second, { claims, enclaveCertificate: request.certificate });
    cleanups.push(
      () =>
        (fixture.attestor.answer = (request, claims) =>
          makeEvidence(fixture.attestor.tpm, { claims, enclaveCertificate: request.certificate })),
    );
    const session = await fixture.session();
    expect(await refusal(session)).toMatchObject({ phase: 'login', code: 'identity.node' });
  });

  test('evidence for another client key: refused', async () => {
    const [one, two] = [await fixture.session(), await fixture.session()];
    expect(await refusal({ ...one, evidence: two.evidence, nonce: two.nonce })).toMatchObject({
      phase: 'login',
      code: 'identity.client_key',
    });
  });

  test("evidence for another user's enclave: refused", async () => {
    const session = await fixture.session();
    expect(await refusal(redirect(session, { user: randomUUID() }))).toMatchObject({
      phase: 'login',
      code: 'identity.user',
    });
  });
});

test('pod swapped between the quote and the connection: the connection fails', async () => {
  const session = await fixture.session();
  const swapped = await startEnclaveFixture();
  cleanups.push(() => swapped.stop());
  const { listen: listening, tls } = swapped.enclave.ports;
  await expect(
    use(redirect(session, { endpoint: `http://127.0.0.1:${listening}`, tlsAddress: `127.0.0.1:${tls}` })),
  ).toRejectWithCode('certificate.mismatch');
  await expect(use(redirect(session, { tlsAddress: `127.0.0.1:${tls}` }))).toRejectWithCode(
    'connection.certificate_mismatch',
  );
});

test('a client never offers a session of before', async () => {
  const session = await fixture.session();
  // ClientHello in the clear: a pre_shared_key extension (RFC 8446, 4.2.11) would be in it.
  const hellos: Buffer[] = [];
  const proxy = createTcpServer((socket) => {
    const upstream = connectTcp(fixture.enclave.ports.tls as number, '127.0.0.1');
    for (const end of [socket, upstream]) end.on('error', () => undefined);
    socket.once('data', (data) => hellos.push(data));
    socket.pipe(upstream).pipe(socket);
  });
  const port = await listen(proxy);
  for (let i = 0; i < 2; i++) await use(redirect(session, { tlsAddress: `127.0.0.1:${port}` }));
  expect(hellos).toHaveLength(2);
  expect(hellos.map(extensionsOf).every((extensions) => extensions.length > 3 && !extensions.includes(41))).toBe(true);
});

/** Types of a ClientHello's extensions (RFC 8446, 4.1.2), in its first record. */
function extensionsOf(record: Buffer): number[] {
  let at = 5 + 4 + 2 + 32;
  at += 1 + record.readUInt8(at);
  at += 2 + record.readUInt16BE(at);
  at += 1 + record.readUInt8(at);
  const end = at + 2 + record.readUInt16BE(at);
  const types: number[] = [];
  for (at += 2; at < end; at += 4 + record.readUInt16BE(at + 2)) types.push(record.readUInt16BE(at));
  return types;
}
