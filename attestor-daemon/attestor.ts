import { sha256 } from '../attestation/crypto';
import type { AttestRequest } from '../proto/gen/licensing/v1/attestor';
import type { Evidence } from '../proto/gen/licensing/v1/evidence';
import { claimsLeaf, encodeClaims } from '../attestation/evidence/claims';
import { claimedName } from '../attestation/evidence/enclave-name';
import { merkleTree } from '../attestation/transparency/merkle';
import type { AttestationKeyManager } from './attestation-key-manager';
import { GroupCommit } from './group-commit';
import type { Workload } from './identity/identity';
import { AttestRefusal } from './requests';
import { TpmCommandError } from './tpm/errors';
import { quote } from './tpm/quote';
import type { TpmQuote } from './tpm/quote';
import type { QuoteOnce } from './tpm/raw-quote';
import { systemClock, unixSecondsOf } from '../runtime/clock';
import type { Clock } from '../runtime/clock';
import { silent } from '../runtime/log/log';
import type { Logger } from '../runtime/log/log';

/** How long a statement counts: a login and its connection happen within seconds. */
const CLAIMS_SECONDS = 300;

const LIMITS = { batch: 4096, waiting: 8192 };

/** A quote and the key that made it, as certified. */
export interface CertifiedQuote extends TpmQuote {
  /** TPMT_PUBLIC. */
  akPublic: Buffer;
  /** DER, leaf first. */
  akCertificates: Buffer[];
}

type SharedEvidence = Omit<Evidence, 'claims' | 'enclaveCertificate' | 'eventLog'>;

interface AttestorOptions {
  /** A quote over a root of 32 bytes; what it throws reaches every request of the batch. */
  quoteRoot(root: Buffer): Promise<CertifiedQuote>;
  /** The node's firmware event log, for those who ask. */
  eventLog?: Buffer;
  /** Told of each quote: seconds that it took, requests that it answers. */
  onQuote?: (seconds: number, requests: number) => void;
  /** The system's, unless told. */
  clock?: Clock;
}

/**
 * Makes evidence. Requests that wait together become leaves of one Merkle tree, and one quote carries its root: a TPM signs a few times a second,
 * and this is what lets thousands of requests a second through it.
 */
export class Attestor {
  private readonly commits: GroupCommit<Buffer, SharedEvidence>;

  private readonly clock: Clock;

  constructor(private readonly options: AttestorOptions) {
    this.clock = options.clock ?? systemClock;
    this.commits = new GroupCommit((claims) => this.quoteAll(claims), LIMITS);
  }

  /** True when so many requests wait that another one would only wait in vain. */
  get busy(): boolean {
    return this.commits.full;
  }

  /**
   * Nonce → claims (attestation/evidence/claims.ts): the bytes of the claims for a workload and a request. Who and what runs comes from the workload alone.
   * @throws EvidenceError claims.invalid, for a request whose fields no claims can hold
   */
  claims(workload: Workload, request: AttestRequest): Buffer {
    const issuedAt = BigInt(unixSecondsOf(this.clock));
    return encodeClaims({
      purpose: request.purpose,
      nonce: request.nonce,
      certificateSha256: sha256(request.certificate),
      tlsExporter: request.tlsExporter,
      user: workload.user,
      clientKeySha256: request.clientKeySha256,
      workloadUid: workload.workloadUid,
      imageDigest: workload.imageDigest,
      node: workload.node,
      issuedAt,
      expiresAt: issuedAt + BigInt(CLAIMS_SECONDS),
      enclave: claimedName(workload.enclave),
    });
  }

  /**
   * @param claims of the request
   * @throws what `quoteRoot` throws, or the signal's reason when it aborts while the request waits
   */
  async makeEvidence(claims: Buffer, request: AttestRequest, signal?: AbortSignal): Promise<Evidence> {
    const signed = await this.commits.add(claims, signal);
    return {
      ...signed,
      claims,
      enclaveCertificate: request.certificate,
      eventLog: request.includeEventLog ? this.options.eventLog : undefined,
    };
  }

  /** Claims → leaf → root → qualifyingData, for all that waited. */
  private async quoteAll(claims: Buffer[]): Promise<SharedEvidence[]> {
    const tree = merkleTree(claims.map(claimsLeaf));
    const began = this.clock.monotonic();
    const quote = await this.options.quoteRoot(tree.root);
    this.options.onQuote?.((this.clock.monotonic() - began) / 1000, claims.length);
    return claims.map((_, leafIndex) => ({
      ...quote,
      leafIndex,
      leafCount: claims.length,
      merklePath: tree.path(leafIndex),
    }));
  }
}

/** A quote by the certified key. What goes wrong at the TPM is said to be worth another try, and makes the manager look at the key again. */
export async function quoteByCertifiedKey(
  quoteOnce: QuoteOnce,
  keyManager: AttestationKeyManager,
  root: Buffer,
  { delayMs, log = silent }: { delayMs?: number | undefined; log?: Logger } = {},
): Promise<CertifiedQuote> {
  const certified = await keyManager.forUse();
  if (certified === undefined)
    throw new AttestRefusal('attestor.not_ready', 'the attestation key is not certified yet', true);
  try {
    const made = await quote(quoteOnce, certified.key, root, delayMs, log);
    return { ...made, akPublic: certified.key.public.bytes, akCertificates: certified.certificates };
  } catch (error) {
    if (!(error instanceof TpmCommandError)) throw error;
    log.warn({ code: error.code, reason: error.message }, 'the TPM made no quote');
    if (error.code === 'tpm.pcr_disturbed') {
      throw new AttestRefusal('attestor.pcr_disturbed', 'another process changed PCR 23 during every quote', true, {
        cause: error,
      });
    }
    keyManager.invalidate();
    throw new AttestRefusal('attestor.tpm_unavailable', 'the TPM made no quote: try again', true, { cause: error });
  }
}
