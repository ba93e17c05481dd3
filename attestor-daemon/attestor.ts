import { createHash } from 'node:crypto';
import type { AttestRequest } from '../proto/gen/licensing/v1/attestor';
import type { Evidence } from '../proto/gen/licensing/v1/evidence';
import { claimsLeaf, encodeClaims } from '../attestation/evidence/claims';
import { claimedName } from '../attestation/evidence/enclave-name';
import { merkleTree } from '../attestation/transparency/merkle';
import { GroupCommit } from './group-commit';
import type { Workload } from './identity/identity';
import type { TpmQuote } from './tpm/quote';
import { systemClock, unixSecondsOf } from '../runtime/clock';
import type { Clock } from '../runtime/clock';

/** How long a statement counts: a login and its connection happen within seconds. */
export const CLAIMS_SECONDS = 300;

const LIMITS = { batch: 4096, waiting: 8192 };

/** A quote and the key that made it, as certified. */
export interface CertifiedQuote extends TpmQuote {
  /** TPMT_PUBLIC. */
  akPublic: Buffer;
  /** DER, leaf first. */
  akCertificates: Buffer[];
}

type SharedEvidence = Omit<Evidence, 'claims' | 'enclaveCertificate' | 'eventLog'>;

/** What a workload asks for, checked for its form. */
export type AttestationRequest = Pick<
  AttestRequest,
  'purpose' | 'nonce' | 'clientKeySha256' | 'certificate' | 'tlsExporter' | 'includeEventLog'
>;

export interface AttestorOptions {
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

  /** The claims' bytes for a workload and a request. Who and what runs comes from the workload alone. @throws EvidenceError claims.invalid */
  claims(workload: Workload, request: AttestationRequest): Buffer {
    const issuedAt = BigInt(unixSecondsOf(this.clock));
    return encodeClaims({
      purpose: request.purpose,
      nonce: request.nonce,
      certificateSha256: createHash('sha256').update(request.certificate).digest(),
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

  /** @throws what `quoteRoot` throws, EvidenceError, or the signal's reason when it aborts while the request waits */
  async attest(workload: Workload, request: AttestationRequest, signal?: AbortSignal): Promise<Evidence> {
    const claims = this.claims(workload, request);
    const signed = await this.commits.add(claims, signal);
    return {
      ...signed,
      claims,
      enclaveCertificate: request.certificate,
      eventLog: request.includeEventLog ? this.options.eventLog : undefined,
    };
  }

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
