import type {
  EvidenceCode,
  LogCode,
  PolicyCode,
  RevocationCode,
  TrustCode,
  VerifierCode,
} from '../../../errors/verifier';
import { refused, unauthenticated, UPGRADE } from './failure';
import type { Failure } from './failure';

/** Where nothing better is known. */
export const NOT_SENT =
  'nothing of yours was sent; someone may stand between you and the enclave: try again from another network, or ask your operator';
const IF_IT_STAYS = 'nothing of yours was sent. Log in again: sls login; if it persists, ask them';

const unproved = refused(NOT_SENT);

/** Evidence that doesn't hold: no step of it has advice of its own. */
const EVIDENCE: Record<EvidenceCode, Failure> = {
  'ak_certificate.malformed': unproved,
  'ak_certificate.untrusted': unproved,
  'ak_certificate.expired': unproved,
  'ak_certificate.not_yet_valid': unproved,
  'ak_certificate.not_a_ca': unproved,
  'ak_certificate.is_a_ca': unproved,
  'ak_certificate.path_length': unproved,
  'ak_certificate.usage': unproved,
  'ak_certificate.critical_extension': unproved,
  'ak_certificate.weak_key': unproved,
  'ak_certificate.weak_signature': unproved,
  'ak_certificate.unsupported': unproved,
  'ak_certificate.name': unproved,
  'ak_certificate.details': unproved,
  'ak_certificate.trust_domain': unproved,
  'ak_certificate.key_mismatch': unproved,
  'ak_certificate.public_area': unproved,
  'ak_attributes.algorithm': unproved,
  'ak_attributes.attributes': unproved,
  'signature.malformed': unproved,
  'signature.unsupported': unproved,
  'signature.mismatch': unproved,
  'quote.malformed': unproved,
  'quote.magic': unproved,
  'quote.type': unproved,
  'quote.unsupported': unproved,
  'quote.pcr_selection': unproved,
  'pcr_digest.values': unproved,
  'pcr_digest.mismatch': unproved,
  'root.path': unproved,
  'root.pcr': unproved,
  'root.qualifying_data': unproved,
  'claims.too_long': unproved,
  'claims.not_canonical': unproved,
  'claims.invalid': unproved,
  'freshness.purpose': unproved,
  'freshness.nonce': unproved,
  'freshness.expired': unproved,
  'freshness.not_yet_valid': unproved,
  'freshness.lifetime': unproved,
  'certificate_hash.mismatch': unproved,
  'certificate_hash.unexpected': unproved,
  'identity.client_key': unproved,
  'identity.tls_exporter': unproved,
  'identity.user': refused(
    'if it is the session of somebody else by now, someone may be passing as the service, or as you. Nothing of yours was sent; tell your operator',
  ),
  'identity.enclave': unproved,
  'identity.workload': unproved,
  'identity.node': unproved,
  'identity.image': unproved,
  'identity.ak_node': unproved,
};

const POLICY: Record<PolicyCode, Failure> = {
  'policy.software_tpm': refused(
    'the trust bundle requires a hardware TPM; to accept a software TPM anyway: sls login --software-tpm allow',
  ),
  'policy.image_digest': refused(
    'the enclave runs another image than the one you asked for; ask your operator which one is current',
  ),
  'policy.boot_state': refused(
    'the machine did not boot as your operator approved; nothing of yours was sent: tell your operator which PCR and event it was',
  ),
  'policy.node': unproved,
};

const REVOCATION: Record<RevocationCode, Failure> = {
  'revocation.node': refused(`your operator revoked the node; ${IF_IT_STAYS}`),
  'revocation.ak': refused(`your operator revoked the node's attestation key; ${IF_IT_STAYS}`),
  'revocation.ek': refused(`your operator revoked the node's TPM; ${IF_IT_STAYS}`),
  'revocation.user': unauthenticated('your operator revoked your account: ask them'),
  'revocation.session': unauthenticated(
    'it was ended here or from another machine, or the password was changed; nothing of yours was sent. Log in again: sls login',
  ),
  'revocation.stale': refused("nothing was sent; is this machine's clock right?"),
  'revocation.missing': unproved,
  'revocation.malformed': unproved,
  'revocation.signature': unproved,
  'revocation.newer_release': refused(UPGRADE),
};

const TRUST: Record<TrustCode, Failure> = {
  'trust.key_changed': refused(
    'someone may be impersonating your operator; nothing was sent. Only if they told you of a new key by another channel: sls trust remove, then sls trust add',
  ),
  'trust.unsigned': unproved,
  'trust.fingerprint': unproved,
  'trust.older': unproved,
  'trust.conflict': unproved,
  'trust.malformed': unproved,
  'trust.type': unproved,
  'trust.signature': unproved,
  'trust.domain_changed': unproved,
  'trust.key_missing': unproved,
  'trust.newer_release': refused(UPGRADE),
};

const LOG: Record<LogCode, Failure> = {
  'log.head_signature': refused(
    'whoever answers does not hold a key of the log: someone may be impersonating the service. Does your operator say that the keys were replaced? sls trust add brings the newer trust bundle',
  ),
  'log.head_malformed': refused('is it the service in your trust bundle? sls trust show says which one that is'),
  'log.head_stale': refused(),
  'log.head_newer_release': refused(UPGRADE),
  'log.rolled_back': refused(
    'records that were there before are gone: ask your operator. Only if they restored a backup and say so: sls audit forget',
  ),
  'log.forked': refused(
    'records were changed, or you are shown another log than others are: ask your operator, and show them both heads',
  ),
  'log.proof_wrong': refused('ask your operator; with sls admin audit verify they see the first record that is wrong'),
  'log.record_missing': refused(
    'ask your operator: somebody removed it, or the service shows you another log than the one it writes',
  ),
  'log.record_wrong': refused(
    'somebody changed the record after it was signed, or the service kept a wrong one: tell your operator',
  ),
  'log.tampered': refused(
    'no record was changed, but proofs made from these hashes are refused; somebody changed the database',
  ),
};

export const VERIFICATION: Record<VerifierCode, Failure> = {
  ...EVIDENCE,
  ...POLICY,
  ...REVOCATION,
  ...TRUST,
  ...LOG,
  'evidence.missing': unproved,
  'identity.installation': unproved,
  'certificate.mismatch': unproved,
  'connection.certificate_mismatch': unproved,
  'connection.protocol': unproved,
  'connection.resumed': unproved,
  'session.exporter': unproved,
};
