import { status } from '@grpc/grpc-js';
import type { ServerWritableStream } from '@grpc/grpc-js';
import { sha256 } from '../../attestation/crypto';
import type { AccountBackend } from '../../licensing/accounts/backend';
import { appendRecord, recordAudit } from '../../licensing/audit/audit';
import type { AuditLog } from '../../licensing/audit/log';
import type { Signer } from '../../licensing/authority/authority';
import { NONCE_BYTES, verifyProof } from '../../attestation/certificates/proof';
import type { EnclaveRegistry } from '../../licensing/enclaves/enclaves';
import { requireEnclaveName } from '../../licensing/enclaves/name';
import { admitByLicence, admitImage } from '../../licensing/licences/admission';
import { limitLogins } from '../../licensing/limits/limits';
import { requireFreshNonce, useNonce } from '../../licensing/sessions/login-nonces';
import { RpcError } from '../../runtime/rpc/errors';
import { requireLength } from '../../runtime/rpc/fields';
import { serverStream, unary, writeMessage } from '../../runtime/rpc/handlers';
import type { CallContext } from '../../runtime/rpc/handlers';
import type {
  LoginRequest,
  LoginResponse,
  LoginResult,
  LoginServiceServer,
  LoginStage,
} from '../../proto/gen/licensing/v1/login';
import { answer, tellStages } from './answer';
import { authenticate } from './authenticate';
import { attestEnclave } from './attest';
import type { Patience } from './attest';
import { launchEnclave, locate } from './launch';
import type { Enclave, Launcher } from './launcher/launcher';
import { loginRecord } from './record';
import type { LoginTrust } from './trust';
import { issueClientCertificate } from '../../licensing/authority/client';
import { CertificateRequestError, readRequestKey } from '../../licensing/authority/request';
import { dateOf } from '../../runtime/clock';
import type { Implementation } from '../../runtime/rpc/handlers';

interface LoginOptions {
  backend: AccountBackend;
  /** The client CA as it is now: it may be replaced while the program runs. */
  authority(): Promise<Signer>;
  launcher: Launcher;
  enclaves: EnclaveRegistry;
  /** How many enclaves a user may have. */
  enclaveLimit(user: string): Promise<number>;
  trust: LoginTrust;
  /** Brought up to date after each login. */
  auditLog?: Pick<AuditLog, 'nudge'>;
  patience?: Patience;
  /** For an enclave of the same name that is being deleted. */
  deletionMs?: number;
  /** Whether there is no login without a licence. Default: false. */
  licenceRequired?: boolean;
  /** Logins of one user, each of which is a record: at once, and again in an hour. Unlimited unless told. */
  loginsPerAccount?: number;
}

/** LoginService: a login is authenticated, certified, launched, attested, verified and answered, in this order. */
export function loginService(options: LoginOptions): Implementation<LoginServiceServer> {
  return {
    login: serverStream(async (call: ServerWritableStream<LoginRequest, LoginResponse>, context: CallContext) => {
      const value = await logIn(options, call.request, context, tellStages(call, context.signal));
      await writeMessage(call, { event: { $case: 'result', value } });
    }),
    getTokenKeys: unary(() => Promise.resolve({ jwks: options.backend.tokenKeys.jwks })),
  };
}

/**
 * One login. Its nonce goes through as it came, to the enclave and into what the evidence is compared with: the nonce's way is told in
 * attestation/evidence/claims.ts.
 */
async function logIn(
  options: LoginOptions,
  request: LoginRequest,
  context: CallContext,
  onStage: (stage: LoginStage) => void,
): Promise<LoginResult> {
  const { backend, launcher, trust, patience, licenceRequired: required = false } = options;
  const { database, trustDomain, clock } = backend;
  const { signal, log } = context;
  const { nonce, csr, proof, includeEventLog } = request;
  const clientKeySha256 = checkRequest(request);
  const name = requireEnclaveName(request.enclave);

  // authenticate
  const client = backend.clientOf(context, request.clientName);
  const { user, session, certificateSeconds, grant } = await authenticate(backend, request, client, context);
  context.user = user;
  await context.takeTurnOf(user);
  await admitLogin(options, user, nonce);
  const entitlement = await admitByLicence(database, user, { required, now: dateOf(clock), log });
  // Nothing is started in vain; what runs in the end is looked at by its evidence.
  if (launcher.image !== undefined) await admitImage(database, user, entitlement, launcher.image, log);

  // certify
  const identity = { user, session, trustDomain, seconds: certificateSeconds };
  const clientCertificates = await issueClientCertificate(await options.authority(), csr, identity);

  // launch
  const onLaunched = ({ workloadUid, node }: Enclave): Promise<void> =>
    recordAudit(database, { kind: 'enclave.launched', detail: { user, workloadUid, node } });
  const launching = { ...options, clock, log, signal, plan: entitlement, onStage, onLaunched };
  const { claims, ...attested } = await launchEnclave(launching, { user, name }, async (launched) => {
    // attest
    const asked = { nonce, clientCertificates, proof, includeEventLog };
    const evidence = await attestEnclave(launched, asked, { signal, patience, clock });
    // verify: at the user as well, who may have been revoked while the enclave started. The launcher's word is compared by locate.
    const place = { workloadUid: undefined, node: undefined };
    const expected = { situation: 'certificate', nonce, clientKeySha256, user, enclave: name, ...place } as const;
    const { claims, signRevocations } = await trust.verify(evidence, expected);
    await admitImage(database, user, entitlement, claims.imageDigest, log);
    return { enclave: locate(launched, claims), claims, evidence, revocations: await signRevocations() };
  });

  // answer
  const record = loginRecord({ user, session }, claims, attested.evidence, dateOf(clock));
  const tokens = await grant((queries) => appendRecord(queries, record));
  options.auditLog?.nudge();
  const { workloadUid, node } = claims;
  log.info({ user, session, enclave: name, workloadUid, node }, 'logged in');
  return answer({ user, tokens, clientCertificates, ...attested, entitlement, record });
}

function readKey(csr: Uint8Array): ReturnType<typeof readRequestKey> {
  try {
    return readRequestKey(csr);
  } catch (error) {
    if (!(error instanceof CertificateRequestError)) throw error;
    throw new RpcError('login.csr', status.INVALID_ARGUMENT, error.message, { cause: error });
  }
}

/** @throws RpcError UNAUTHENTICATED login.nonce_used; RESOURCE_EXHAUSTED login.limited */
async function admitLogin({ backend, loginsPerAccount = 0 }: LoginOptions, user: string, nonce: Buffer): Promise<void> {
  await requireFreshNonce(backend.database, user, nonce);
  await limitLogins(backend.database, user, loginsPerAccount);
  await useNonce(backend.database, user, nonce);
}

/**
 * Refuses what could not lead to evidence, before it costs a password hash.
 * @returns SHA-256 of the client's key, as claims have it
 * @throws RpcError INVALID_ARGUMENT
 */
function checkRequest({ nonce, csr, proof }: LoginRequest): Buffer {
  requireLength('login.nonce', 'a nonce', nonce, NONCE_BYTES);
  const { publicKey, spki } = readKey(csr);
  if (!verifyProof(publicKey, nonce, proof)) {
    throw new RpcError(
      'login.proof',
      status.INVALID_ARGUMENT,
      "expected a signature over the nonce by the request's key, got another one",
    );
  }
  return sha256(spki);
}
