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
import { comparingClocks } from './clocks';
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

/**
 * The service's answer to a login is incomplete or wrong (login.no_result, login.wrong_certificate), or the session has no
 * valid token left (login.session_over). `code` is stable.
 */
export class LoginError extends CodedError<LoginResultCode> {
  override readonly name = 'LoginError';
}

/** How to log in, what to verify, and what to be told meanwhile. */
export interface LoginOptions extends CallOptions, VerifyingOptions, TrustOptions {
  /**
   * What to log in with. A successful login uses up a refresh token. `knownSession`: a refresh token of this user, which
   * stays valid and exempts the client from rate limits that others at its address caused. `oneTimeCode`: required with a
   * second factor, a code from the authenticator or a recovery code; without it, the right password is refused with
   * login.second_factor_required.
   */
  credential:
    | { accessToken: string }
    | { refreshToken: string }
    | { username: string; password: string; knownSession?: string | undefined; oneTimeCode?: string | undefined };
  /** Name of the user's enclave. Default: `default`. Evidence about another enclave is refused. */
  enclave?: string | undefined;
  /** Expected user id, if known from an earlier login; an access token carries it. Another user is refused. */
  user?: string | undefined;
  /** Requests the node's firmware event log. Default: true if the policy requires boot states, so that a refusal can name the event. */
  includeEventLog?: boolean | undefined;
  /** Called with the new tokens, before the evidence is verified. Save them even if the login is then refused. */
  onTokens?: (tokens: SessionTokens) => void | Promise<void>;
  /**
   * Called with the audit record of this login, after it was compared with the evidence. Keep it for `checkAuditLog`.
   * Undefined if the service gave none: it has no audit log, or this replica runs a release without one.
   */
  onReceipt?: (receipt: LoginReceipt | undefined) => void | Promise<void>;
  /** Called with each stage that the login waits for. */
  onStage?: (stage: LoginStage) => void;
}

/**
 * Logs in, starts the user's enclave if it is not running, and verifies its evidence before relying on the rest of the
 * answer. May take minutes while a node is allocated and the image is pulled.
 * @returns the session to `connect` with; it holds secrets
 * @example
 * const session = await login(trust, {
 *   credential: { username: 'ada', password },
 *   onTokens: (tokens) => save(tokens),
 *   onStep: ({ step, title }) => console.error(`${step}: ${title}`),
 * });
 * @throws AttestationRefused if the evidence does not verify or is not wanted
 * @throws RpcError login.wrong_credentials, login.second_factor_required, login.limited, login.enclave_timeout and others
 * @throws LoginError, PlaintextRefused
 */
export function login(trust: TrustBundle, options: LoginOptions): Promise<Session> {
  return comparingClocks(trust, options, () => logIn(trust, options));
}

async function logIn(trust: TrustBundle, options: LoginOptions): Promise<Session> {
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

/** What to verify fresh evidence against. */
export type RenewEvidenceOptions = VerifyingOptions & TrustOptions;

/**
 * Requests fresh evidence from the enclave, for a session whose client certificate is still valid. Exported as `attest`.
 * @returns the session with the new evidence, nonce and claims
 * @throws AttestationRefused identity.workload if the enclave was replaced: log in again to learn which one is current
 * @throws RpcError
 */
export function renewEvidence(
  trust: TrustBundle,
  session: Session,
  options: RenewEvidenceOptions = {},
): Promise<Session> {
  return comparingClocks(trust, options, () => requestEvidence(trust, session, options));
}

async function requestEvidence(trust: TrustBundle, session: Session, options: RenewEvidenceOptions): Promise<Session> {
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
