import { status } from '@grpc/grpc-js';
import { Claims } from '../../proto/gen/licensing/v1/evidence';
import { RpcError } from '../../core/rpc/errors';
import { AttestationRefused, attest, connect, login } from '../index';
import type { EnclaveConnection } from '../index';
import { CliError, EXIT } from './exit';
import { allowPlaintext } from './plaintext';
import { tellStage, tellStep } from './narration';
import type { Output } from './output';
import { loadSession, saveSession } from './session-file';
import type { SavedSession } from './session-file';
import { isFresh } from './token-file';
import { TrustKeeper } from './trust-keeper';

/** Evidence that ends sooner is asked for anew before it is used. */
const EVIDENCE_MARGIN_SECONDS = 30;

/** The evidence is about another workload, or the endpoint hands out another certificate: the enclave was replaced since login. */
const REPLACED = new Set(['identity.workload', 'identity.node', 'certificate.mismatch']);

export interface ConnectOptions {
  verbose?: boolean;
  signal?: AbortSignal;
}

/**
 * A verified connection to the enclave of the saved session. Where that enclave is gone and the access token is still good, logs in again
 * by itself: with a new key, a new nonce and the whole verification.
 * @throws CliError 4 with the way out when the session has ended
 */
export async function connectSaved(out: Output, options: ConnectOptions): Promise<EnclaveConnection> {
  const saved = await loadSession();
  try {
    return await open(saved, out, options);
  } catch (error) {
    if (!isGone(error)) throw error;
    const { accessToken, accessTokenExpiresAt } = saved.session;
    if (!isFresh(accessTokenExpiresAt)) {
      throw new CliError(EXIT.authentication, 'the enclave of the saved session is gone, and the session has ended', { hint: 'run: sls login' }, { cause: error });
    }
    out.progress('the enclave is gone: logging in again');
    const keeper = new TrustKeeper(saved.trust, saved.preferences ?? {}, out);
    const session = await login(keeper.trust, {
      onTrust: keeper.onTrust,
      credential: { accessToken },
      allowPlaintext: allowPlaintext(),
      onStage: tellStage(out),
      onStep: options.verbose ? tellStep(out, { details: true }) : undefined,
      signal: options.signal,
    });
    const renewed = { ...saved, trust: keeper.trust, session };
    await saveSession(renewed);
    return open(renewed, out, options);
  }
}

async function open(saved: SavedSession, out: Output, { verbose, signal }: ConnectOptions): Promise<EnclaveConnection> {
  const onStep = verbose ? tellStep(out, { details: true }) : undefined;
  const keeper = new TrustKeeper(saved.trust, saved.preferences ?? {}, out);
  let { session } = saved;
  const { expiresAt } = Claims.decode(session.evidence.claims);
  if (Number(expiresAt) - EVIDENCE_MARGIN_SECONDS < Date.now() / 1000) {
    out.progress('quoting: the evidence has ended, asking for a new one');
    session = await attest(keeper.trust, session, { onTrust: keeper.onTrust, allowPlaintext: allowPlaintext(), onStep, signal });
    await saveSession({ ...saved, trust: keeper.trust, session });
  }
  out.progress('verifying and connecting');
  const connection = await connect(keeper.trust, session, { onTrust: keeper.onTrust, allowPlaintext: allowPlaintext(), onStep, signal });
  if (keeper.renewed) await saveSession({ ...saved, trust: keeper.trust, session });
  out.erase();
  return connection;
}

function isGone(error: unknown): boolean {
  if (error instanceof RpcError) return error.grpcStatus === status.UNAVAILABLE || error.grpcStatus === status.DEADLINE_EXCEEDED;
  return error instanceof AttestationRefused && error.phase !== 'session' && REPLACED.has(error.code);
}
