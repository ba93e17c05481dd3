import type { OidcProviderCode, UnreachableCode } from '../../../errors/client';
import type { ServiceCode } from '../../../errors/service';
import type { TransportCode } from '../../../errors/transport';
import type { ChainCode, LicenceKeyCode, SeatTokenCode } from '../../../errors/verifier';
import { failed, refused, unauthenticated, unavailable } from './failure';
import type { Failure } from './failure';

export const LOG_IN_AGAIN = 'log in again: sls login';
export const TRY_AGAIN = 'try again in a moment';
export const BUSY = 'the service is busy: try again in a moment';
const IS_IT_UP = 'is the service running (sls up), and is it the one in your trust bundle?';
const ASK = 'ask your operator';
const OIDC_AGAIN = 'to start over: sls login --oidc';
const EXACT_KEY = 'use the licence key exactly as your operator gave it to you';
const OTHER_LICENCE = 'To do without a licence where that is allowed: sls licence drop ID';

export const SERVICES: Record<ServiceCode, Failure> = {
  'signup.username_invalid': failed(),
  'signup.username_taken': failed(),
  'signup.password_too_short': failed(),
  'signup.password_too_long': failed(),
  'signup.password_weak': failed(),

  'login.wrong_credentials': unauthenticated(LOG_IN_AGAIN),
  'login.second_factor_required': unauthenticated(
    'pass a code from your authenticator on standard input: with --password-stdin, on the line after the password',
  ),
  'login.second_factor_wrong': unauthenticated(
    'a code works once, for half a minute, by the clock: is that of your authenticator right? Wait for the next code, or use a recovery code. Lost both? Ask your operator',
  ),
  'login.credential_missing': unauthenticated(LOG_IN_AGAIN),
  'login.limited': unavailable('wait that long; logins from a session that you still have are not held up'),
  'login.busy': unavailable(BUSY),
  'login.hashing_failed': unavailable(TRY_AGAIN),
  'login.token_missing': unauthenticated(LOG_IN_AGAIN),
  'login.token_invalid': unauthenticated(LOG_IN_AGAIN),
  'login.refresh_invalid': unauthenticated(LOG_IN_AGAIN),
  'login.refresh_reused': unauthenticated(LOG_IN_AGAIN),
  'login.refresh_raced': unavailable('try again'),
  'login.session_ended': unauthenticated(LOG_IN_AGAIN),
  'login.revoked': unauthenticated(ASK),
  'login.nonce': failed(),
  'login.nonce_used': failed(),
  'login.csr': failed(),
  'login.proof': failed(),
  'login.evidence_missing': failed(),
  'login.evidence_refused': refused(),
  'login.enclave_unavailable': unavailable(TRY_AGAIN),
  'login.enclave_timeout': unavailable(TRY_AGAIN),
  'login.enclave_image': unavailable(TRY_AGAIN),
  'login.enclave_crashes': unavailable(TRY_AGAIN),
  'login.enclave_refused': unavailable(TRY_AGAIN),
  'login.no_node': unavailable(TRY_AGAIN),
  'login.no_volume': unavailable(TRY_AGAIN),
  'login.quota': unavailable(BUSY),

  'account.login_not_fresh': unauthenticated('log in again: sls login --oidc'),
  'account.no_password': failed('your OpenID provider holds it: change it there'),
  'account.password_raced': unavailable('try again'),
  'account.second_factor_raced': unavailable('try again'),
  'account.second_factor_enabled': failed('to use another authenticator: sls totp disable, then sls totp enable'),
  'account.second_factor_disabled': failed('to set one up: sls totp enable'),
  'account.second_factor_not_begun': failed('start over: sls totp enable'),
  'account.second_factor_unavailable': failed(ASK),
  'session.not_found': failed(),

  'oidc.off': failed('log in with a password: sls login'),
  'oidc.token_invalid': unauthenticated(
    "to start over: sls login --oidc; if it fails again, your operator's or the provider's clock or settings may be wrong",
  ),
  'oidc.token_used': unauthenticated(OIDC_AGAIN),
  'oidc.unknown_user': unauthenticated('ask your operator for an account'),
  'oidc.other_username': failed('leave out --username'),
  'oidc.already_bound': failed('sls account show says what your account is linked to; sls account unlink ends that'),
  'oidc.not_bound': failed('sls account show says how you log in'),

  'licence.required': failed('your operator issues them; sls redeem takes the licence key'),
  'licence.unknown': failed('ask your operator for another one'),
  'licence.revoked': failed(`ask your operator why; sls redeem takes another one. ${OTHER_LICENCE}`),
  'licence.full': failed('ask your operator for one with room, or have someone give theirs back: sls licence drop ID'),
  'licence.image': failed('ask your operator which licence covers this image; sls redeem takes the licence key'),
  'licence.not_held': failed('sls licence shows which licences you have'),
  'licence.limited': unavailable('wait that long; one attempt with the licence key exactly as given is enough'),

  'seat.none_free': unavailable(
    'sls seats list shows yours; sls seats free ID gives up one whose session was lost; exec and cp wait for one with --wait SECONDS',
  ),
  'seat.unavailable': unavailable(TRY_AGAIN),
  'seat.not_found': failed(),
  'seat.proof': unauthenticated(LOG_IN_AGAIN),
  'seat.evidence_refused': refused(),
  'seat.heartbeat': unauthenticated(LOG_IN_AGAIN),
  'seat.heartbeat_old': unauthenticated("is this machine's clock right?"),
  'seat.freed': failed(),
  'seat.closing': failed(),
  'seat.lapsed': unavailable('run the command again: it takes a new seat'),
  'seat.other_session': unauthenticated(LOG_IN_AGAIN),

  'enclave.name': failed(),
  'enclave.not_found': failed('sls enclaves list shows yours'),
  'enclave.installation_full': unavailable('ask your operator: MAX_ENCLAVES of login says how many there may be'),
  'enclave.limit': unavailable('sls enclaves delete NAME makes room'),
  'enclave.being_deleted': unavailable(TRY_AGAIN),
  'enclave.state_unknown': unavailable(TRY_AGAIN),
  'enclave.not_stopped': unavailable(TRY_AGAIN),
  'enclave.not_deleted': unavailable(TRY_AGAIN),

  'audit.size': failed(),
  'audit.not_included': failed(),
  'audit.key_unknown': unavailable(
    'right after a key rotation, try again in a moment. If it persists, somebody changed the tables: sls admin audit verify names what is wrong',
  ),
  'audit.tree_damaged': refused(
    "somebody changed the audit log's tables: the service signs nothing more until its operator has looked; sls admin audit verify names what is wrong",
  ),
  'store.unavailable': unavailable(TRY_AGAIN),
};

export const LICENCE_KEYS: Record<LicenceKeyCode, Failure> = {
  'licence.malformed': failed(EXACT_KEY),
  'licence.algorithm': failed(EXACT_KEY),
  'licence.unknown_key': failed(
    'is it from this service? Your trust bundle may also be old: sls trust add brings a newer one',
  ),
  'licence.signature': failed(EXACT_KEY),
  'licence.type': failed(EXACT_KEY),
  'licence.issuer': failed('is it from this service? sls trust show says which one you use'),
  'licence.audience': failed(EXACT_KEY),
  'licence.expired': failed(`ask your operator for another one; sls redeem takes its key. ${OTHER_LICENCE}`),
  'licence.not_yet_valid': failed(EXACT_KEY),
  'licence.claims': failed(EXACT_KEY),
  'licence.newer_release': failed(
    'the service, or this sls, is of an older release than the licence: ask your operator which one to update',
  ),
};

export const OIDC_PROVIDER: Record<OidcProviderCode, Failure> = {
  'oidc.provider_unavailable': unavailable('is the OpenID provider up? Try again in a moment'),
  'oidc.provider_invalid': failed("ask your operator: the service's OpenID provider is misconfigured"),
};

export const SEAT_TOKENS: Record<SeatTokenCode, Failure> = {
  'seat.token_invalid': unauthenticated(LOG_IN_AGAIN),
  'seat.token_expired': unauthenticated(LOG_IN_AGAIN),
  'seat.token_newer_release': unavailable(
    'the enclave is of an older release than the service: sls enclaves stop NAME, and your next command starts the newer one',
  ),
};

/** A client's own certificate, as the enclave and the login service see it. */
export const CLIENT_CERTIFICATES: Record<ChainCode, Failure> = {
  'certificate.malformed': unauthenticated(LOG_IN_AGAIN),
  'certificate.weak_key': unauthenticated(LOG_IN_AGAIN),
  'certificate.weak_signature': unauthenticated(LOG_IN_AGAIN),
  'certificate.expired': unauthenticated(LOG_IN_AGAIN),
  'certificate.not_yet_valid': unauthenticated("is this machine's clock right?"),
  'certificate.untrusted': unauthenticated(LOG_IN_AGAIN),
  'certificate.not_a_ca': unauthenticated(LOG_IN_AGAIN),
  'certificate.is_a_ca': unauthenticated(LOG_IN_AGAIN),
  'certificate.path_length': unauthenticated(LOG_IN_AGAIN),
  'certificate.usage': unauthenticated(LOG_IN_AGAIN),
  'certificate.critical_extension': unauthenticated(LOG_IN_AGAIN),
  'certificate.name': unauthenticated(LOG_IN_AGAIN),
  'certificate.details': unauthenticated(LOG_IN_AGAIN),
};

export const UNREACHABLE: Record<UnreachableCode, Failure> = {
  'connection.failed': unavailable(TRY_AGAIN),
  'connection.closed': unavailable('what ran there ended with it; the next command connects again'),
  'connection.timeout': unavailable(TRY_AGAIN),
  'service.unreachable': unavailable(IS_IT_UP),
};

export const TRANSPORT: Record<TransportCode, Failure> = {
  internal: failed('the log of the service says more'),
  'rpc.ok': failed(),
  'rpc.cancelled': failed(),
  'rpc.unknown': failed(),
  'rpc.invalid_argument': failed(),
  'rpc.deadline_exceeded': unavailable(IS_IT_UP),
  'rpc.not_found': failed(),
  'rpc.already_exists': failed(),
  'rpc.permission_denied': unauthenticated(LOG_IN_AGAIN),
  'rpc.resource_exhausted': unavailable(BUSY),
  'rpc.failed_precondition': failed(),
  'rpc.aborted': unavailable('try again'),
  'rpc.out_of_range': failed(),
  'rpc.unimplemented': failed(),
  'rpc.internal': failed(),
  'rpc.unavailable': unavailable(IS_IT_UP),
  'rpc.data_loss': failed(),
  'rpc.unauthenticated': unauthenticated(LOG_IN_AGAIN),
  'rpc.idle': unavailable(TRY_AGAIN),
  'rpc.busy': unavailable(BUSY),
  'rpc.too_large': failed(),
  'rpc.malformed': failed(),
  'rpc.client_too_old': failed('this sls is of an older release than the service takes: install a newer one'),
  'rpc.client_too_new': failed(
    'this sls is of a newer release than the service: ask your operator to update it, or use the sls of its release',
  ),
  'health.busy': unavailable(BUSY),
  'health.unknown_service': failed(),
};
