import { createHash, randomUUID } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createAuthority } from '../../licensing/authority/authority';
import { newNonce, signProof } from '../../attestation/certificates/proof';
import type { Clock } from '../../runtime/clock';
import { parseAddress } from '../../runtime/rpc/address';
import { RpcError } from '../../runtime/rpc/errors';
import { TrustedProxies } from '../../runtime/rpc/peer';
import { bidiStream, writeMessage } from '../../runtime/rpc/handlers';
import { CallReader } from '../../runtime/rpc/read-call';
import { startServer } from '../../runtime/rpc/server';
import type { RunningServer } from '../../runtime/rpc/server';
import type { TrustBundle } from '../../attestation/trust/bundle';
import type { Session } from '../../client/session';
import { makeClientKey, privateKey } from '../../client/key';
import { callUnary } from '../../runtime/rpc/client';
import { openEnclave } from '../../client/channel';
import { loadClientRoots, startEnclave } from '../../enclave/enclave';
import type { RunningEnclave } from '../../enclave/enclave';
import type { EnclaveSettings } from '../../enclave/settings';
import { AttestorServiceService } from '../../proto/gen/licensing/v1/attestor';
import type { AttestRequest } from '../../proto/gen/licensing/v1/attestor';
import { EnclaveServiceClient } from '../../proto/gen/licensing/v1/enclave';
import { Claims } from '../../proto/gen/licensing/v1/evidence';
import type { Evidence } from '../../proto/gen/licensing/v1/evidence';
import { IMAGE_DIGEST, makeEvidence, makeFakeTpm, TRUST_DOMAIN } from './evidence';
import type { FakeTpm } from './evidence';
import { startTrustService } from './trust-service';
import type { TestTrustService } from './trust-service';
import { issueClientCertificate } from '../../licensing/authority/client';
import type { CertifiedKey } from '../../runtime/keys/key-pair';

/** How a fake attestor answers; throws RpcError to end the stream. */
export type FakeAnswer = (request: AttestRequest, claims: Partial<Claims>) => Evidence | 'silence';

/** An attestor over the real contract, on a real unix socket, with a fake TPM behind it. */
export interface FakeAttestor {
  address: string;
  tpm: FakeTpm;
  /** Every credential that opened a stream, in order. */
  credentials: string[];
  requests: AttestRequest[];
  /** Decides about the credential of a stream. */
  identify: (credential: string) => void;
  answer: FakeAnswer;
  stop(): Promise<void>;
}

export interface FakeAttestorOptions {
  socket: string;
  tpm: FakeTpm;
  user: string;
  workloadUid: string;
}

export async function startFakeAttestor({
  socket,
  tpm,
  user,
  workloadUid,
}: FakeAttestorOptions): Promise<FakeAttestor> {
  const attestor: FakeAttestor = {
    address: `unix:${socket}`,
    tpm,
    credentials: [],
    requests: [],
    identify: () => undefined,
    answer: (request, claims) => makeEvidence(tpm, { claims, enclaveCertificate: request.certificate }),
    stop: () => server.stop(0),
  };
  const server: RunningServer = await startServer({
    address: parseAddress(attestor.address),
    services: [
      {
        definition: AttestorServiceService,
        implementation: {
          attest: bidiStream(async (call, { signal }) => {
            const credential = String(call.metadata.get('authorization')[0]).replace('Bearer ', '');
            attestor.credentials.push(credential);
            attestor.identify(credential);
            for (const requests = new CallReader<AttestRequest>(call, signal); ;) {
              const request = await requests.next();
              if (request === undefined) return;
              attestor.requests.push(request);
              const { purpose, nonce, clientKeySha256, tlsExporter, certificate, id } = request;
              const certificateSha256 = createHash('sha256').update(certificate).digest();
              const claims = {
                purpose,
                nonce,
                clientKeySha256,
                tlsExporter,
                certificateSha256,
                user,
                workloadUid,
                imageDigest: IMAGE_DIGEST,
              };
              try {
                const evidence = attestor.answer(request, claims);
                if (evidence !== 'silence')
                  await writeMessage(call, { id, result: { $case: 'evidence', value: evidence } });
              } catch (error) {
                if (!(error instanceof RpcError)) throw error;
                await writeMessage(call, {
                  id,
                  result: { $case: 'failure', value: { code: error.code, message: error.message, retryable: false } },
                });
              }
            }
          }),
        },
      },
    ],
  });
  return attestor;
}

/** An enclave in this process, with a fake attestor and a client authority: all that a client of the library needs. */
export interface EnclaveFixture {
  folder: string;
  workspace: string;
  user: string;
  workloadUid: string;
  node: string;
  trust: TrustBundle;
  /** What the login service would say about trust. */
  trustService: TestTrustService;
  clientAuthority: CertifiedKey;
  attestor: FakeAttestor;
  enclave: RunningEnclave;
  credentialFile: string;
  /** A login without the login service: certificate for `user`, evidence by the enclave itself. */
  session(options?: SessionOptions): Promise<Session>;
  stop(): Promise<void>;
}

export interface SessionOptions {
  user?: string;
  authority?: CertifiedKey;
  /** Issues the certificate as of then. */
  now?: Date;
  seconds?: number;
  /** TLS inside EnclaveService.Tunnel. */
  tunnel?: boolean;
}

/** An attestor that the fixture did not start. */
export interface ForeignAttestor {
  address: string;
  node: string;
  /** PEM. */
  attestationRoot: string;
  user: string;
  workloadUid: string;
}

export interface FixtureOptions {
  settings?: Partial<EnclaveSettings>;
  /** The enclave's; the machine's unless told. */
  clock?: Clock;
  /** See `startEnclave`. */
  onIdle?: () => void;
  /** Instead of the fake one, which is started all the same and not asked. */
  foreign?: ForeignAttestor;
}

export async function startEnclaveFixture({
  settings = {},
  clock,
  onIdle,
  foreign,
}: FixtureOptions = {}): Promise<EnclaveFixture> {
  const folder = await mkdtemp(join(tmpdir(), 'sls-enclave-'));
  const workspace = join(folder, 'workspace');
  const credentialFile = join(folder, 'credential');
  const clientCaFile = join(folder, 'client-ca.pem');
  const user = foreign?.user ?? randomUUID();
  const workloadUid = foreign?.workloadUid ?? randomUUID();
  const clientAuthority = await createAuthority({ commonName: 'client CA', trustDomain: TRUST_DOMAIN, years: 1 });
  await writeFile(clientCaFile, clientAuthority.certificate);
  await writeFile(credentialFile, 'first-credential\n');
  const tpm = await makeFakeTpm();
  const attestor = await startFakeAttestor({ socket: join(folder, 'attestor.sock'), tpm, user, workloadUid });
  const enclave = await startEnclave(
    {
      LISTEN: parseAddress('http://127.0.0.1:0'),
      TLS_LISTEN: { host: '127.0.0.1', port: 0 },
      ATTESTOR_ADDRESS: parseAddress(foreign?.address ?? attestor.address),
      ATTESTOR_CREDENTIAL_FILE: credentialFile,
      ENCLAVE_USER: user,
      TRUST_DOMAIN,
      WORKSPACE_DIR: workspace,
      IDLE_SECONDS: 0,
      // Tests of seats want them.
      SEATS: 'off',
      SEAT_GRACE_SECONDS: 900,
      TRUSTED_PROXIES: TrustedProxies.none,
      ...settings,
    },
    await loadClientRoots({ CLIENT_CA_FILE: clientCaFile }, { clock }),
    { onIdle, clock },
  );
  const trustService = await startTrustService();
  const trust: TrustBundle = {
    version: 1,
    sequence: 1,
    trustKey: trustService.trustKey.publicKey,
    revocationKeys: { keys: [trustService.revocationKey.publicKey] },
    trustDomain: TRUST_DOMAIN,
    attestationRoots: [foreign?.attestationRoot ?? tpm.authority.certificate],
    serverRoots: [],
    services: { signup: 'http://127.0.0.1:1', login: trustService.address },
    policy: { softwareTpm: foreign ? 'allow' : 'refuse' },
  };
  const fixture: EnclaveFixture = {
    folder,
    workspace,
    user,
    workloadUid,
    node: foreign?.node ?? tpm.node,
    trust,
    trustService,
    clientAuthority,
    attestor,
    enclave,
    credentialFile,
    session: (options) => makeSession(fixture, options),
    async stop() {
      await enclave.stop();
      await attestor.stop();
      await trustService.stop();
      await rm(folder, { recursive: true, force: true });
    },
  };
  return fixture;
}

/** A client's key and certificate, as the login service makes them. */
export async function makeClient(
  fixture: EnclaveFixture,
  options: SessionOptions = {},
): Promise<Pick<Session, 'clientKey' | 'clientCertificates'>> {
  const { pem, csr } = await makeClientKey();
  const clientCertificates = await issueClientCertificate(options.authority ?? fixture.clientAuthority, csr, {
    user: options.user ?? fixture.user,
    session: randomUUID(),
    trustDomain: TRUST_DOMAIN,
    seconds: options.seconds ?? 3600,
    now: options.now,
  });
  return { clientKey: pem, clientCertificates };
}

async function makeSession(fixture: EnclaveFixture, options: SessionOptions = {}): Promise<Session> {
  const client = await makeClient(fixture, options);
  const endpoint = `http://127.0.0.1:${fixture.enclave.ports.listen}`;
  const nonce = newNonce();
  const evidence = await askForEvidence(endpoint, fixture.trust, client, nonce);
  return {
    accessToken: 'access token',
    accessTokenExpiresAt: Math.floor(Date.now() / 1000) + 900,
    ...client,
    enclave: {
      user: fixture.user,
      workloadUid: fixture.workloadUid,
      node: fixture.node,
      endpoint,
      tlsAddress: options.tunnel ? '' : `127.0.0.1:${fixture.enclave.ports.tls}`,
    },
    evidence,
    claims: Claims.decode(evidence.claims),
    nonce,
  };
}

/** EnclaveService.Attest, as the login service calls it. */
export async function askForEvidence(
  endpoint: string,
  trust: TrustBundle,
  { clientKey, clientCertificates }: Pick<Session, 'clientKey' | 'clientCertificates'>,
  nonce: Buffer,
): Promise<Evidence> {
  const service = openEnclave(EnclaveServiceClient, endpoint, trust);
  try {
    const proof = signProof(privateKey(clientKey), nonce);
    const { evidence } = await callUnary(
      service,
      service.attest,
      { nonce, clientCertificates, proof, includeEventLog: false },
      { timeout: 120_000 },
    );
    if (!evidence) throw new Error('no evidence');
    return evidence;
  } finally {
    service.close();
  }
}
