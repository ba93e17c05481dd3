import { CodedError } from '../../errors/coded-error';
import type { EvidenceCode, PolicyCode } from '../../errors/verifier';

/** The steps of the verification, in the order of trust, with what each establishes. */
export const STEPS = {
  ak_certificate: 'the attestation key is certified by a trusted authority',
  ak_attributes: 'the attestation key signs only what its TPM made',
  signature: 'the quote is signed by the attestation key',
  quote: 'the signed bytes are a quote of the expected PCRs',
  pcr_digest: 'the PCR values are the quoted ones',
  root: 'PCR 23 and the qualifying data hold the root over the claims',
  claims: 'the claims are well-formed',
  freshness: 'the claims are for this purpose, this nonce and now',
  certificate_hash: "the claims name the enclave's certificate",
  identity: 'the claims are for this client, user, enclave, workload and node',
  policy: 'image, node, TPM and boot are wanted',
} as const;

/** Name of a step; its error codes begin with it. */
export type Step = keyof typeof STEPS;

/**
 * The evidence is bad: nobody should believe it. `code` is `STEP.REASON` and stable:
 * - ak_certificate: malformed, untrusted, expired, not_yet_valid, not_a_ca, is_a_ca, path_length, usage, critical_extension, weak_key,
 *   weak_signature, unsupported, name, details, trust_domain, key_mismatch
 * - ak_attributes: algorithm, attributes
 * - signature: malformed, unsupported, mismatch
 * - quote: malformed, magic, type, pcr_selection
 * - pcr_digest: values, mismatch
 * - root: path, pcr, qualifying_data
 * - claims: too_long, not_canonical, invalid
 * - freshness: purpose, nonce, expired, not_yet_valid, lifetime
 * - certificate_hash: mismatch, unexpected
 * - identity: client_key, tls_exporter, user, enclave, workload, node, image, ak_node
 */
export class EvidenceError extends CodedError<EvidenceCode> {
  override readonly name = 'EvidenceError';
  /** Of freshness.expired: when the evidence, which is good but for its age, was issued. */
  readonly issuedAt: Date | undefined;

  constructor(
    readonly step: Exclude<Step, 'policy'>,
    code: EvidenceCode,
    message: string,
    { issuedAt, ...options }: ErrorOptions & { issuedAt?: Date } = {},
  ) {
    super(code, message, options);
    this.issuedAt = issuedAt;
  }
}

/** The evidence is good, and not what this client wants. `code` is stable. */
export class PolicyError extends CodedError<PolicyCode> {
  override readonly name = 'PolicyError';
  readonly step = 'policy';
}
