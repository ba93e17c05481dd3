import type { ChainCode } from './verifier';

/** For workloads: why the node's attestor gives no evidence. */
export type AttestorCode =
  | 'attestor.bad_request'
  | 'attestor.bad_identity'
  | 'attestor.busy'
  | 'attestor.certificate_changed'
  | 'attestor.cluster_unavailable'
  | 'attestor.credential_expired'
  | 'attestor.credential_refused'
  | 'attestor.credential_used'
  | 'attestor.duplicate_id'
  | 'attestor.foreign_code'
  | 'attestor.foreign_container'
  | 'attestor.no_credential'
  | 'attestor.no_pod'
  | 'attestor.no_user'
  | 'attestor.not_ready'
  | 'attestor.other_node'
  | 'attestor.pcr_disturbed'
  | 'attestor.pod_ended'
  | 'attestor.pod_ending'
  | 'attestor.pod_gone'
  | 'attestor.pod_starting'
  | 'attestor.record_unwritable'
  | 'attestor.stream_open'
  | 'attestor.token_refused'
  | 'attestor.too_many_streams'
  | 'attestor.too_many_workloads'
  | 'attestor.tpm_unavailable'
  | 'attestor.wrong_account'
  | 'attestor.wrong_image'
  | 'attestor.wrong_node';

type EndorsementReason = ChainCode extends `certificate.${infer Reason}` ? Reason : never;

/** For attestors: why the enrolment service certifies no attestation key. */
export type EnrolmentCode =
  | 'enrol.malformed'
  | 'enrol.node_name'
  | 'enrol.node_bound'
  | 'enrol.revoked'
  | 'enrol.challenge_invalid'
  | 'enrol.challenge_expired'
  | 'enrol.challenge_used'
  | 'enrol.secret'
  /** No certificate of the endorsement key, and no administrator let it in. */
  | 'enrol.ek_unknown'
  | `enrol.ek_certificate_${EndorsementReason}`
  | 'enrol.ak_attributes';
