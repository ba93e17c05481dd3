/** TPM structures, event logs, golden boot states and other bytes that can't be read as what they should be. */
export type ParsingCode =
  | 'bytes.truncated'
  | 'bytes.trailing'
  | 'bytes.malformed'
  /** A file, a setting, standard input: what has to be text is no UTF-8. */
  | 'text.not_utf8'
  /** The bytes end before the structure does. */
  | 'tpm.truncated'
  /** Bytes are left after the structure. */
  | 'tpm.trailing'
  /** A value that the specification doesn't allow in this place. */
  | 'tpm.invalid'
  /** Allowed by the specification, not by this project. */
  | 'tpm.unsupported'
  /** A key that is too weak, or so large that using it costs too much. */
  | 'tpm.weak_key'
  /** TPMS_ATTEST that doesn't start with TPM_GENERATED_VALUE: the TPM didn't make it. */
  | 'tpm.magic'
  /** TPMS_ATTEST of another type than a quote. */
  | 'tpm.attest_type'
  | EventLogCode
  | BootStateCode
  | ChainCode
  | CertificateRequestCode
  | TrustBundleCode
  | EvidenceFileCode
  | AccessTokenCode
  | IdTokenCode;

export type BytesCode = Extract<ParsingCode, `bytes.${string}`>;
export type TpmStructureCode = Extract<ParsingCode, `tpm.${string}`>;

export type EventLogCode =
  /** Over MAX_EVENT_LOG_BYTES. */
  | 'event_log.too_large'
  /** The bytes end inside an event. */
  | 'event_log.truncated'
  /** A value that the profile doesn't allow in this place. */
  | 'event_log.malformed'
  /** The old form, which has SHA-1 digests only. */
  | 'event_log.sha1_only'
  /** Crypto-agile, without the SHA-256 bank. */
  | 'event_log.no_sha256';

export type BootStateCode = 'boot_state.malformed' | 'boot_state.contradicted' | 'boot_state.no_pcrs';

/** Any X.509 certificate or chain. */
export type ChainCode = `certificate.${
  | 'malformed'
  | 'weak_key'
  | 'weak_signature'
  | 'expired'
  | 'not_yet_valid'
  | 'untrusted'
  | 'not_a_ca'
  | 'is_a_ca'
  | 'path_length'
  | 'usage'
  | 'critical_extension'
  | 'name'
  | 'details'}`;

export type CertificateRequestCode = `certificate.csr_${'malformed' | 'key' | 'signature'}`;

export type TrustBundleCode = 'trust_bundle.not_json' | 'trust_bundle.malformed' | NewerRelease<'trust_bundle.'>;

export type EvidenceFileCode = 'evidence_file.too_large' | 'evidence_file.not_json' | 'evidence_file.malformed';

/** It calls something critical that this release doesn't know: a newer one reads it. */
type NewerRelease<Document extends string> = `${Document}newer_release`;

type TokenReason =
  /** Not a JWT of three parts, or too long. */
  | 'malformed'
  /** Signed by another algorithm than those allowed, or by none. */
  | 'algorithm'
  /** Names no key that is trusted. */
  | 'unknown_key'
  | 'signature'
  /** Another kind of token: `typ`. */
  | 'type'
  | 'issuer'
  /** For somebody else: `aud`. */
  | 'audience'
  | 'expired'
  /** Issued in the future, or valid later. */
  | 'not_yet_valid'
  /** A claim is missing or malformed. */
  | 'claims';

export type AccessTokenCode = `token.${TokenReason}`;

/** `too_old`: issued longer ago than a login takes. */
export type IdTokenCode = `id_token.${TokenReason | 'too_old'}`;

export type LicenceKeyCode = `licence.${TokenReason}` | NewerRelease<'licence.'>;

export type SeatTokenCode = 'seat.token_invalid' | 'seat.token_expired' | NewerRelease<'seat.token_'>;

/** The evidence is bad: `STEP.REASON`. */
export type EvidenceCode =
  | `ak_certificate.${
      | 'malformed'
      | 'untrusted'
      | 'expired'
      | 'not_yet_valid'
      | 'not_a_ca'
      | 'is_a_ca'
      | 'path_length'
      | 'usage'
      | 'critical_extension'
      | 'weak_key'
      | 'weak_signature'
      | 'unsupported'
      | 'name'
      | 'details'
      | 'trust_domain'
      | 'key_mismatch'
      | 'public_area'}`
  | `ak_attributes.${'algorithm' | 'attributes'}`
  | `signature.${'malformed' | 'unsupported' | 'mismatch'}`
  | `quote.${'malformed' | 'magic' | 'type' | 'unsupported' | 'pcr_selection'}`
  | `pcr_digest.${'values' | 'mismatch'}`
  | `root.${'path' | 'pcr' | 'qualifying_data'}`
  | `claims.${'too_long' | 'not_canonical' | 'invalid'}`
  | `freshness.${'purpose' | 'nonce' | 'expired' | 'not_yet_valid' | 'lifetime'}`
  | `certificate_hash.${'mismatch' | 'unexpected'}`
  | `identity.${'client_key' | 'tls_exporter' | 'user' | 'enclave' | 'workload' | 'node' | 'image' | 'ak_node'}`;

/** The evidence is good, and not wanted. */
export type PolicyCode = `policy.${'image_digest' | 'node' | 'software_tpm' | 'boot_state'}`;

/** What the evidence is about is trusted no longer; or nothing shows that it still is. */
export type RevocationCode =
  | `revocation.${'node' | 'ak' | 'ek' | 'user' | 'session'}`
  | `revocation.${'missing' | 'malformed' | 'signature' | 'stale'}`
  | NewerRelease<'revocation.'>;

/** A signed trust bundle that isn't taken. */
export type TrustCode = `trust.${
  | 'unsigned'
  | 'malformed'
  | 'type'
  | 'signature'
  | 'fingerprint'
  | 'older'
  | 'conflict'
  | 'key_changed'
  | 'domain_changed'
  | 'key_missing'
  | 'newer_release'}`;

/** The audit log contradicts itself, its signatures, or what it showed before. */
export type LogCode = `log.${
  | 'head_malformed'
  | 'head_signature'
  | 'head_stale'
  | 'head_newer_release'
  | 'rolled_back'
  | 'forked'
  | 'proof_wrong'
  | 'record_missing'
  | 'record_wrong'
  | 'tampered'}`;

/** The connection to an enclave isn't to what was verified. */
type ConnectionRefusalCode =
  /** An answer without evidence. */
  | 'evidence.missing'
  /** The enclave hands out another certificate than the one that was attested. */
  | 'certificate.mismatch'
  /** A session is of one installation: the trust bundle is another one's. */
  | 'identity.installation'
  /** What TLS presents is not what was verified. */
  | `connection.${'certificate_mismatch' | 'protocol' | 'resumed'}`
  /** The evidence is about another TLS session: somebody stands between. */
  | 'session.exporter';

/** Why evidence is refused by whoever verifies it, a client or the login service. */
export type RefusalCode = EvidenceCode | PolicyCode | RevocationCode;

/** For verifiers: what they refuse to believe. */
export type VerifierCode = RefusalCode | TrustCode | LogCode | ConnectionRefusalCode;
