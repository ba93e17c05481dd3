import { callUnary } from '../runtime/rpc/client';
import type { VerifiedEvidence } from '../attestation/evidence/verify';
import type { TrustBundle } from '../attestation/trust/bundle';
import { checkRevocations, readRevocations, RevocationError } from '../attestation/trust/revocations';
import type { RevocationList } from '../attestation/trust/revocations';
import { acceptNewer, TrustError } from '../attestation/trust/signed-bundle';
import { TrustServiceClient } from '../proto/gen/licensing/v1/trust';
import { withService } from './channel';
import { AttestationRefused } from './errors';
import type { Phase } from './errors';
import type { VerifiedStep } from './evidence';
import { dateOf, systemClock } from '../runtime/clock';
import type { Clock } from '../runtime/clock';

const TIMEOUT_MS = 15_000;

/** How the trust bundle and the revocation list are kept current. */
export interface TrustOptions {
  /**
   * Called with a newer trust bundle, signed by the trust key pinned in the current one. Save it, and pass it to later calls.
   * The bundle it returns is used from then on, which allows for local overrides.
   * @param signed the newer bundle as compact JWS
   */
  onTrust?: (newer: TrustBundle, signed: string) => TrustBundle | Promise<TrustBundle>;
  /** Allows http:// services on other machines. Default: false. */
  allowPlaintext?: boolean;
  /** Cancels the calls. */
  signal?: AbortSignal;
  /** Default: the system clock. */
  clock?: Clock;
}

/** Trust as it is now, and what is revoked now, or why that isn't known. */
export interface FreshTrust {
  trust: TrustBundle;
  list: RevocationList | Error;
}

/**
 * Reads the revocation list (asks the login service for one where none is given) and, where the list or its key is news, takes the newer trust
 * bundle. A list that is missing or wrong is no error yet: evidence is judged first, and says more about who answers.
 * @throws AttestationRefused trust.…: another key signs the trust bundle than the one that is pinned, or the key signed two with one sequence
 */
export async function freshTrust(
  phase: Phase,
  trust: TrustBundle,
  revocations: string | undefined,
  options: TrustOptions,
): Promise<FreshTrust> {
  let jws: string;
  try {
    jws = revocations ?? (await fetchRevocations(trust, options));
  } catch (error) {
    return { trust, list: error as Error };
  }
  const now = dateOf(options.clock ?? systemClock);
  let list = await readRevocations(jws, trust.revocationKeys.keys, now).catch(asError);
  const keyUnknown = list instanceof RevocationError && list.code === 'revocation.signature';
  if (!keyUnknown && (list instanceof Error || list.trustSequence <= trust.sequence)) return { trust, list };
  const newer = await fetchNewer(phase, trust, options);
  if (newer === undefined) return { trust, list };
  if (keyUnknown) list = await readRevocations(jws, newer.revocationKeys.keys, now).catch(asError);
  return { trust: newer, list };
}

/**
 * Refuses evidence, verified before, of what is revoked; and all evidence where that isn't known.
 * @param session the client's own
 * @throws AttestationRefused revocation.…; RpcError where the service that has the list can't be reached
 */
export function refuseRevoked(
  phase: Phase,
  list: RevocationList | Error,
  { claims, attestationKey }: VerifiedEvidence,
  onStep: ((step: VerifiedStep) => void) | undefined,
  session?: string,
): void {
  try {
    if (list instanceof Error) throw list;
    checkRevocations(list, {
      node: claims.node,
      akSha256: attestationKey.sha256,
      ekSha256: attestationKey.certificate.details.ekSha256,
      user: claims.user,
      session,
    });
  } catch (error) {
    if (!(error instanceof RevocationError)) throw error;
    throw new AttestationRefused(phase, error.step, error.code, error.message, { cause: error });
  }
  onStep?.({
    phase,
    step: 'revocation',
    title: 'neither the node, nor its keys, nor the user and this session are revoked',
    detail: `by the list of ${new Date(list.iat * 1000).toISOString()}`,
  });
}

async function fetchRevocations(trust: TrustBundle, options: TrustOptions): Promise<string> {
  return withService(TrustServiceClient, trust.services.login, trust, options, async (client) => {
    const { revocations } = await callUnary(
      client,
      client.getRevocations,
      {},
      { timeout: TIMEOUT_MS, signal: options.signal },
    );
    return revocations;
  });
}

async function fetchNewer(phase: Phase, trust: TrustBundle, options: TrustOptions): Promise<TrustBundle | undefined> {
  const signed = await withService(TrustServiceClient, trust.services.login, trust, options, async (client) => {
    const { bundle } = await callUnary(
      client,
      client.getTrustBundle,
      {},
      { timeout: TIMEOUT_MS, signal: options.signal },
    );
    return bundle;
  });
  try {
    const newer = await acceptNewer({ bundle: trust }, signed);
    return newer && ((await options.onTrust?.(newer, signed)) ?? newer);
  } catch (error) {
    if (!(error instanceof TrustError)) throw error;
    throw new AttestationRefused(phase, 'trust', error.code, error.message, { cause: error });
  }
}

function asError(error: unknown): Error {
  return error as Error;
}
