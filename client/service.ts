import { X509Certificate } from 'node:crypto';
import { newNonce, signProof } from '../attestation/certificates/proof';
import { DEFAULT_ENCLAVE } from '../attestation/evidence/enclave-name';
import { callUnary } from '../runtime/rpc/client';
import { fromServiceError, isServiceError } from '../runtime/rpc/errors';
import { TracedCall } from '../runtime/rpc/trace';
import { leafHash } from '../attestation/transparency/merkle';
import type { TrustBundle } from '../attestation/trust/bundle';
import { fingerprint } from '../attestation/trust/public-key';
import { EnclaveServiceClient } from '../proto/gen/licensing/v1/enclave';
import { LoginServiceClient, LoginServiceService } from '../proto/gen/licensing/v1/login';
import type { LoginRequest, LoginResponse, LoginResult, LoginStage } from '../proto/gen/licensing/v1/login';
import type { CallOptions, SessionTokens } from './account';
import { openEnclave, openService } from './channel';
import { AttestationRefused } from './errors';
import { verifyLogin } from './evidence';
import type { VerifyingOptions } from './evidence';
import { freshTrust, refuseRevoked } from './fresh-trust';
import type { TrustOptions } from './fresh-trust';
import { requireSameInstallation, requireSameUser, userOfToken } from './identity';
import { makeClientKey, privateKey, publicKeyDer } from './key';
import { checkReceipt } from './receipt';
import type { LoginReceipt } from './receipt';
import { sessionId } from './session';
import type { Session } from './session';
import { systemClock } from '../runtime/clock';
import { CodedError } from '../errors/coded-error';
import type { LoginResultCode } from '../errors/client';

/** An enclave may have to be scheduled and its image pulled. */
const LOGIN_TIMEOUT_MS = 240_000;
const ATTEST_TIMEOUT_MS = 60_000;

/** A login as the service answered it is not one, which is a bug or a lie; or nothing is left to log in again with. `code` is stable. */
export class LoginError extends CodedError<LoginResultCode> {
  override readonly name = 'LoginError';
}

export interface LoginOptions extends CallOptions, VerifyingOptions, TrustOptions {
  /**
   * A refresh token is used by a login that succeeds. `knownSession`: the refresh token of a session of this user's that is at hand; it stays
   * good, and keeps the attempts of others at this address from standing in this client's way. `oneTimeCode`: where the user has a second factor, of the
   * authenticator or a recovery code; without it such a user's right password is answered by login.second_factor_required.
   */
  credential:
    | { accessToken: string }
    | { refreshToken: string }
    | { username: string; password: string; knownSession?: string | undefined; oneTimeCode?: string | undefined };
  /** Name of the user's enclave that is wanted; left out: `default`. Evidence of another one is refused. */
  enclave?: string | undefined;
  /** The user's id, where it is known from before: whose session it is that goes on. An access token brings it along. Another user is refused. */
  user?: string | undefined;
  /** Wants the node's firmware event log with the evidence. Default: where boot states are demanded, so that a refusal can name the event. */
  includeEventLog?: boolean | undefined;
  /** Told the new tokens, before anything of the answer is verified: they are all that there is of the session, whatever the evidence says. */
  onTokens?: (tokens: SessionTokens) => void | Promise<void>;
  /**
   * Told what the audit log has of this login, once that was compared with the evidence. Keep it for `checkAuditLog`. Undefined where the service gave none:
   * there is no audit log, or this replica is of before there was one.
   */
  onReceipt?: (receipt: LoginReceipt | undefined) => void | Promise<void>;
  /** Told what is being waited for. */
  onStage?: (stage: LoginStage) => void;
}

/**
 * Logs in, has the user's enclave started where it does not run, and verifies its evidence before anything else of the answer is believed.
 * @throws AttestationRefused, RpcError, LoginError, PlaintextRefused
 */
export async function login(trust: TrustBundle, options: LoginOptions): Promise<Session> {
  const { bootStates } = { ...trust.policy, ...options.policy };
  const { credential, includeEventLog = bootStates !== undefined } = options;
  const key = await makeClientKey();
  // Where it goes from here, and how it comes back: attestation/evidence/claims.ts.
  const nonce = newNonce();
  const result = await callLogin(
    trust,
    {
      credential: credentialMessage(credential),
      nonce,
      csr: key.csr,
      proof: signProof(privateKey(key.pem), nonce),
      includeEventLog,
      clientName: options.clientName ?? '',
      enclave: options.enclave ?? '',
      oneTimeCode: ('password' in credential && credential.oneTimeCode) || '',
    },
    options,
  );
  const tokens: SessionTokens = {
    accessToken: result.accessToken,
    accessTokenExpiresAt: Number(result.accessTokenExpiresAt),
    ...(result.refreshToken !== '' && {
      refreshToken: result.refreshToken,
      refreshTokenExpiresAt: Number(result.refreshTokenExpiresAt),
    }),
  };
  const user = options.user ?? ('accessToken' in credential ? userOfToken(credential.accessToken) : undefined);
  requireSameUser(user, tokens);
  await options.onTokens?.(tokens);
  const { enclave, evidence } = result;
  if (!enclave) throw new LoginError('login.no_result', 'expected to be told where the enclave is');
  if (!evidence)
    throw new AttestationRefused(
      'login',
      'evidence',
      'evidence.missing',
      'expected evidence, got an answer without any',
    );
  const session: Omit<Session, 'claims'> = {
    ...tokens,
    clientKey: key.pem,
    clientCertificates: result.clientCertificates,
    enclave: { ...enclave, user: user ?? enclave.user },
    enclaveName: options.enclave ?? DEFAULT_ENCLAVE,
    trustKey: await fingerprint(trust.trustKey),
    evidence,
    nonce,
    ...(result.licence && {
      licence: {
        ...result.licence,
        until: Number(result.licence.until),
        graceUntil: Number(result.licence.graceUntil),
      },
    }),
  };
  const fresh = await freshTrust('login', trust, result.revocations, options);
  const verified = verifyLogin(fresh.trust, session, options);
  refuseRevoked('login', fresh.list, verified, options.onStep, sessionId(session));
  checkOwnCertificate(session);
  requireSameUser(verified.claims.user, tokens);
  const { claims } = verified;
  const receipt = checkReceipt(result.receipt, { session: sessionId(session), evidence, claims });
  if (receipt)
    options.onStep?.({
      phase: 'login',
      step: 'log',
      title: 'the audit record of this login says what the evidence says',
      detail: `SHA-256 ${leafHash(receipt.record).toString('hex')}`,
    });
  await options.onReceipt?.(receipt);
  // What the login service left to the evidence is known now, and stays so for the session.
  return { ...session, claims, enclave: { ...session.enclave, workloadUid: claims.workloadUid, node: claims.node } };
}

function credentialMessage(credential: LoginOptions['credential']): LoginRequest['credential'] {
  if ('accessToken' in credential) return { $case: 'accessToken', value: credential.accessToken };
  if ('refreshToken' in credential) return { $case: 'refreshToken', value: credential.refreshToken };
  const { username, password, knownSession = '' } = credential;
  return { $case: 'password', value: { username, password, knownSession } };
}

function callLogin(
  trust: TrustBundle,
  request: LoginRequest,
  { onStage, signal, allowPlaintext }: LoginOptions,
): Promise<LoginResult> {
  const client = openService(LoginServiceClient, trust.services.login, trust, allowPlaintext);
  return new Promise<LoginResult>((resolve, reject) => {
    const traced = new TracedCall(LoginServiceService.login.path);
    const call = traced.follow(
      client.login(request, traced.metadata, { deadline: systemClock.now() + LOGIN_TIMEOUT_MS }),
    );
    const cancel = (): void => call.cancel();
    let result: LoginResult | undefined;
    call.on('data', ({ event }: LoginResponse) => {
      if (event?.$case === 'progress') onStage?.(event.value.stage);
      else if (event?.$case === 'result') result = event.value;
    });
    call.on('error', (error) => {
      signal?.removeEventListener('abort', cancel);
      reject(isServiceError(error) ? fromServiceError(error) : error);
    });
    call.on('end', () => {
      signal?.removeEventListener('abort', cancel);
      if (result) resolve(result);
      else reject(new LoginError('login.no_result', 'expected a result at the end of the login, got none'));
    });
    if (signal?.aborted) cancel();
    else signal?.addEventListener('abort', cancel, { once: true });
  }).finally(() => client.close());
}

/** Another key's certificate would fail at the enclave, with a message that explains nothing. */
function checkOwnCertificate({
  clientKey,
  clientCertificates,
}: Pick<Session, 'clientKey' | 'clientCertificates'>): void {
  const [leaf] = clientCertificates;
  const certified = leaf && new X509Certificate(leaf).publicKey.export({ type: 'spki', format: 'der' });
  if (!certified?.equals(publicKeyDer(clientKey)))
    throw new LoginError('login.wrong_certificate', "expected a certificate for this client's own key");
}

export type RenewEvidenceOptions = VerifyingOptions & TrustOptions;

/**
 * Asks the enclave itself for fresh evidence, for a session that is still good. It has to be the same enclave: where it was replaced, that is
 * `identity.workload`, and a login says which one is right.
 * @throws AttestationRefused, RpcError
 */
export async function renewEvidence(
  trust: TrustBundle,
  session: Session,
  options: RenewEvidenceOptions = {},
): Promise<Session> {
  await requireSameInstallation(session, trust);
  const nonce = newNonce();
  const asked = freshTrust('login', trust, undefined, options);
  // Awaited below; what fails before must not leave it without a listener.
  asked.catch(() => undefined);
  const client = openEnclave(EnclaveServiceClient, session.enclave.endpoint, trust);
  try {
    const { evidence } = await callUnary(
      client,
      client.attest,
      {
        nonce,
        clientCertificates: session.clientCertificates,
        proof: signProof(privateKey(session.clientKey), nonce),
        includeEventLog: false,
      },
      { timeout: ATTEST_TIMEOUT_MS, signal: options.signal },
    );
    if (!evidence)
      throw new AttestationRefused(
        'login',
        'evidence',
        'evidence.missing',
        'expected evidence, got an answer without any',
      );
    const renewed = { ...session, evidence, nonce };
    const fresh = await asked;
    const verified = verifyLogin(fresh.trust, renewed, options);
    refuseRevoked('login', fresh.list, verified, options.onStep, sessionId(session));
    return { ...renewed, claims: verified.claims };
  } finally {
    client.close();
  }
}
