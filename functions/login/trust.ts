import { status } from '@grpc/grpc-js';
import { reloadingSetting } from '../../runtime/config/reloading-setting';
import type { Reloading } from '../../runtime/config/reloading-file';
import { EvidenceError, PolicyError } from '../../attestation/evidence/errors';
import type { CertificateExpected, SeatExpected } from '../../attestation/evidence/expected';
import { verifyEvidence } from '../../attestation/evidence/verify';
import { currentlyRevoked } from '../../licensing/revocation/store';
import { revokedUser } from '../../licensing/sessions/sessions';
import { unary } from '../../runtime/rpc/handlers';
import { RpcError } from '../../runtime/rpc/errors';
import type { Database } from '../../licensing/store/database';
import { readTokenKeys } from '../../licensing/tokens/keys';
import type { TokenKeys } from '../../licensing/tokens/keys';
import type { TrustBundle } from '../../attestation/trust/bundle';
import { checkRevocations, RevocationError, signRevocations } from '../../attestation/trust/revocations';
import type { PublicKey } from '../../attestation/trust/public-key';
import { acceptNewer, checkNotOlder, readSignedBundle } from '../../attestation/trust/signed-bundle';
import type { SignedTrust } from '../../attestation/trust/signed-bundle';
import type { Claims, Evidence } from '../../proto/gen/licensing/v1/evidence';
import type { TrustServiceServer } from '../../proto/gen/licensing/v1/trust';
import type { Code } from '../../errors/codes';
import { dateOf, isYounger, systemClock } from '../../runtime/clock';
import type { Clock } from '../../runtime/clock';
import type { Logger } from '../../runtime/log/log';
import { silent } from '../../runtime/log/log';
import type { Implementation } from '../../runtime/rpc/handlers';
import { workForAll } from '../../runtime/turns/requester';

/** A list that is asked for by itself is made anew when the last one is older; much less than a list's life. */
const LIST_AGE_MS = 1_000;

/** Refusals of evidence that a clock can explain: the node's, enrol's or this one. */
const BY_CLOCK: ReadonlySet<Code> = new Set<Code>([
  'ak_certificate.expired',
  'ak_certificate.not_yet_valid',
  'freshness.expired',
  'freshness.not_yet_valid',
]);

interface LoginTrustOptions {
  /** The signed bundle and what it says. */
  bundle: Reloading<{ signed: string; bundle: TrustBundle }>;
  revocationKeys: Reloading<TokenKeys>;
  database: Database;
  /** Silent, unless told. */
  log?: Logger;
  /** The system's, unless told. */
  clock?: Clock;
}

/**
 * Reads a file that is replaced while the program runs. Whoever can replace it need not have the trust key: what was read first is kept, or
 * replaced by a newer bundle of its key.
 * @returns a reader that throws TrustError for anything else
 */
export function trustBundleReader(): (text: string) => Promise<SignedTrust> {
  let held: SignedTrust | undefined;
  return async (text) => {
    const signed = text.trim();
    if (held === undefined) return (held = { signed, bundle: await readSignedBundle(signed) });
    const bundle = await acceptNewer(held, signed);
    if (bundle) return (held = { signed, bundle });
    checkNotOlder(held, { signed, bundle: await readSignedBundle(signed) });
    return held;
  };
}

/** Loads the files of the settings, which may be replaced while the program runs. @throws ConfigError */
export async function loadTrustFiles(
  { TRUST_BUNDLE_FILE, REVOCATION_KEYS_FILE }: { TRUST_BUNDLE_FILE: string; REVOCATION_KEYS_FILE: string },
  program: { log?: Logger; clock?: Clock } = {},
): Promise<Pick<LoginTrustOptions, 'bundle' | 'revocationKeys'>> {
  const readBundle = trustBundleReader();
  return {
    bundle: await reloadingSetting({ TRUST_BUNDLE_FILE }, ([jws]) => readBundle(String(jws)), program),
    revocationKeys: await reloadingSetting({ REVOCATION_KEYS_FILE }, ([json]) => readTokenKeys(String(json)), program),
  };
}

interface VerifiedByLogin {
  claims: Claims;
  /** Makes a revocation list, for the client, of what the evidence was compared with. */
  signRevocations(): Promise<string>;
}

/** What login itself refuses, and what it hands to clients so that they can refuse it as well. */
export class LoginTrust {
  private list: { signed: Promise<string>; madeAt: number } | undefined;

  private readonly clock: Clock;

  constructor(private readonly options: LoginTrustOptions) {
    this.clock = options.clock ?? systemClock;
  }

  /**
   * Verifies an enclave's evidence by the operator's own trust bundle, policy included, and that nothing in it is revoked, its user included.
   * @param code of the refusal
   * @throws RpcError FAILED_PRECONDITION with `code`: another enclave may do better. UNAUTHENTICATED `login.revoked`
   */
  async verify(
    evidence: Evidence,
    expected: CertificateExpected | SeatExpected,
    code: 'login.evidence_refused' | 'seat.evidence_refused' = 'login.evidence_refused',
  ): Promise<VerifiedByLogin> {
    const { bundle } = await this.options.bundle();
    const revoked = await currentlyRevoked(this.options.database, expected.user);
    try {
      const now = dateOf(this.clock);
      const { attestationKey, claims } = verifyEvidence(evidence, {
        trust: bundle,
        expected,
        policy: bundle.policy,
        now,
      });
      checkRevocations(revoked, {
        node: attestationKey.certificate.node,
        akSha256: attestationKey.sha256,
        ekSha256: attestationKey.certificate.details.ekSha256,
        user: claims.user,
      });
      return { claims, signRevocations: () => this.sign(revoked, bundle) };
    } catch (cause) {
      if (cause instanceof RevocationError && cause.code === 'revocation.user') throw revokedUser();
      if (!(cause instanceof EvidenceError || cause instanceof PolicyError || cause instanceof RevocationError))
        throw cause;
      (this.options.log ?? silent).warn({ code: cause.code, reason: cause.message }, 'evidence refused');
      // What two clocks show is no secret, and its user's operator has to know which machine to look at.
      const times = BY_CLOCK.has(cause.code)
        ? `: ${cause.message}; are the clocks of the node and of this service right?`
        : '';
      throw new RpcError(code, status.FAILED_PRECONDITION, `its evidence is refused (${cause.code})${times}`, {
        cause,
        details: { refusal: cause.code },
      });
    }
  }

  /** A revocation list of the last seconds. */
  revocations(): Promise<string> {
    if (this.list === undefined || !isYounger(this.clock, this.list.madeAt, LIST_AGE_MS + 1)) {
      const made = { signed: workForAll(() => this.makeList()), madeAt: this.clock.now() };
      this.list = made;
      // A list that could not be made is asked for again by the next one.
      made.signed.catch(() => (this.list = this.list === made ? undefined : this.list));
    }
    return this.list.signed;
  }

  /** Verify licence keys. */
  async licenceKeys(): Promise<readonly PublicKey[]> {
    return (await this.options.bundle()).bundle.licenceKeys?.keys ?? [];
  }

  async signedBundle(): Promise<string> {
    return (await this.options.bundle()).signed;
  }

  private async makeList(): Promise<string> {
    const [{ bundle }, revoked] = await Promise.all([this.options.bundle(), currentlyRevoked(this.options.database)]);
    return this.sign(revoked, bundle);
  }

  private async sign(
    revoked: Awaited<ReturnType<typeof currentlyRevoked>>,
    { sequence }: TrustBundle,
  ): Promise<string> {
    const { signing } = await this.options.revocationKeys();
    return signRevocations({ ...revoked, trustSequence: sequence }, signing, dateOf(this.clock));
  }
}

/** TrustService: anyone may ask. */
export function trustService(trust: LoginTrust): Implementation<TrustServiceServer> {
  return {
    getTrustBundle: unary(async () => ({ bundle: await trust.signedBundle() })),
    getRevocations: unary(async () => ({ revocations: await trust.revocations() })),
  };
}
