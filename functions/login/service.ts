import { createHash } from 'node:crypto';
import { status } from '@grpc/grpc-js';
import type { ServerWritableStream } from '@grpc/grpc-js';
import type { AccountBackend } from '../../licensing/accounts/backend';
import { appendRecord, recordAudit } from '../../licensing/audit/audit';
import type { AuditLog } from '../../licensing/audit/log';
import { aboutUser } from '../../licensing/audit/counted';
import type { Signer } from '../../licensing/authority/authority';
import { NONCE_BYTES, verifyProof } from '../../attestation/certificates/proof';
import type { EnclaveRegistry } from '../../licensing/enclaves/enclaves';
import { requireEnclaveName } from '../../licensing/enclaves/name';
import { admitByLicence, admitImage } from '../../licensing/licences/admission';
import type { Entitlement } from '../../licensing/licences/entitlement';
import { logger } from '../../runtime/log/logger';
import { RpcError } from '../../runtime/rpc/errors';
import { serverStream, unary, writeMessage } from '../../runtime/rpc/handlers';
import type { CallContext } from '../../runtime/rpc/handlers';
import { toUnixSeconds } from '../../runtime/rpc/unix-time';
import { Claims } from '../../proto/gen/licensing/v1/evidence';
import type { LicenceTerm, LoginRequest, LoginResponse, LoginServiceServer } from '../../proto/gen/licensing/v1/login';
import { authenticate } from './authenticate';
import { launchAndAttest } from './launch-and-attest';
import type { Patience } from './launch-and-attest';
import type { Launcher } from './launcher/launcher';
import { loginRecord } from './record';
import { withEnclaveRegistration } from './enclave-registration';
import type { LoginTrust } from './trust';
import { issueClientCertificate, MAX_CLIENT_CERTIFICATE_SECONDS } from '../../licensing/authority/client';
import { CertificateRequestError, readRequestKey } from '../../licensing/authority/request';
import { dateOf } from '../../runtime/clock';

export interface LoginOptions {
  backend: AccountBackend;
  /** The client CA as it is now: it may be replaced while the program runs. */
  authority(): Promise<Signer>;
  launcher: Launcher;
  enclaves: EnclaveRegistry;
  /** How many enclaves a user may have. */
  enclaveLimit(user: string): Promise<number>;
  trust: LoginTrust;
  /** Brought up to date after each login. */
  log?: Pick<AuditLog, 'nudge'>;
  patience?: Patience;
  /** For an enclave of the same name that is being deleted. */
  deletionMs?: number;
  /** Whether there is no login without a licence. Default: false. */
  licenceRequired?: boolean;
}

/**
 * Refuses what could not lead to evidence, before it costs a password hash.
 * @returns SHA-256 of the client's key, as claims have it
 * @throws RpcError INVALID_ARGUMENT
 */
async function checkRequest({ nonce, csr, proof }: LoginRequest): Promise<Buffer> {
  if (nonce.length !== NONCE_BYTES) {
    throw new RpcError(
      'login.nonce',
      status.INVALID_ARGUMENT,
      `expected a nonce of ${NONCE_BYTES} bytes, got ${nonce.length}`,
    );
  }
  const { publicKey, spki } = await readRequestKey(csr).catch((error: unknown) => {
    if (error instanceof CertificateRequestError)
      throw new RpcError('login.csr', status.INVALID_ARGUMENT, error.message, { cause: error });
    throw error;
  });
  if (!verifyProof(publicKey, nonce, proof)) {
    throw new RpcError(
      'login.proof',
      status.INVALID_ARGUMENT,
      "expected a signature over the nonce by the request's key, got another one",
    );
  }
  return createHash('sha256').update(spki).digest();
}

function termOf({ licence, plan, until, graceUntil }: Entitlement): LicenceTerm {
  return { licence, plan, until: toUnixSeconds(until), graceUntil: toUnixSeconds(graceUntil) };
}

/** LoginService: authenticates, certifies the client's key, brings the user's enclave up and hands on its evidence. */
export function loginService({
  backend,
  authority,
  launcher,
  enclaves,
  enclaveLimit,
  trust,
  log,
  patience,
  deletionMs,
  licenceRequired = false,
}: LoginOptions): LoginServiceServer {
  const { trustDomain, clock } = backend;
  return {
    login: serverStream(async (call: ServerWritableStream<LoginRequest, LoginResponse>, context: CallContext) => {
      const { request } = call;
      const { signal } = context;
      const clientKeySha256 = await checkRequest(request);
      const name = requireEnclaveName(request.enclave);
      const { user, session, grant } = await authenticate(
        backend,
        request,
        backend.clientOf(context, request.clientName),
        context,
      );
      aboutUser(user, context.metadata);
      await trust.admit(user);
      const entitlement = await admitByLicence(backend.database, user, {
        required: licenceRequired,
        now: dateOf(clock),
      });
      // Nothing is started in vain; what runs in the end is looked at by its evidence.
      if (launcher.image !== undefined) await admitImage(backend.database, user, entitlement, launcher.image);
      const id = { user, name };
      const clientCertificates = await issueClientCertificate(await authority(), request.csr, {
        user,
        session,
        trustDomain,
        seconds: MAX_CLIENT_CERTIFICATE_SECONDS,
      });
      let told = 0;
      const {
        enclave,
        evidence,
        verdict: revocations,
      } = await withEnclaveRegistration({ enclaves, launcher, enclaveLimit, signal, deletionMs, clock }, id, () =>
        launchAndAttest(
          launcher,
          id,
          { nonce: request.nonce, clientCertificates, proof: request.proof, includeEventLog: request.includeEventLog },
          {
            signal,
            patience,
            clock,
            // Looks at the user again: who was revoked while the enclave started gets nothing from it.
            async judge(evidence) {
              const list = await trust.judge(evidence, {
                situation: 'certificate',
                nonce: request.nonce,
                clientKeySha256,
                user,
                enclave: name,
                // The launcher's word is compared by locate; the client compares what login tells it.
                workloadUid: undefined,
                node: undefined,
              });
              await admitImage(backend.database, user, entitlement, Claims.decode(evidence.claims).imageDigest);
              return list;
            },
            onLaunched: ({ workloadUid, node }) =>
              recordAudit(backend.database, { kind: 'enclave.launched', detail: { user, workloadUid, node } }),
            plan: entitlement,
            onStage(stage) {
              // Each stage once, in its order; a second start after a lost enclave is told by the wait.
              if (stage <= told || signal.aborted) return;
              told = stage;
              call.write({ event: { $case: 'progress', value: { stage } } });
            },
          },
        ),
      );
      const record = loginRecord({ user, session }, evidence, dateOf(clock));
      const tokens = await grant(MAX_CLIENT_CERTIFICATE_SECONDS, (queries) => appendRecord(queries, record));
      log?.nudge();
      logger.info({ user, session, enclave: name, workloadUid: enclave.workloadUid, node: enclave.node }, 'logged in');
      await writeMessage(call, {
        event: {
          $case: 'result',
          value: {
            accessToken: tokens.accessToken,
            accessTokenExpiresAt: BigInt(tokens.accessTokenExpiresAt),
            refreshToken: tokens.refreshToken ?? '',
            refreshTokenExpiresAt: BigInt(tokens.refreshTokenExpiresAt ?? 0),
            clientCertificates,
            enclave: {
              user,
              workloadUid: enclave.workloadUid,
              node: enclave.node,
              endpoint: enclave.endpoint,
              tlsAddress: enclave.tlsAddress,
            },
            evidence,
            revocations,
            licence: entitlement && termOf(entitlement),
            receipt: { record },
          },
        },
      });
    }),
    getTokenKeys: unary(() => Promise.resolve({ jwks: backend.tokenKeys.jwks })),
  };
}
