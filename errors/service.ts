type SignupCode =
  | 'signup.username_invalid'
  | 'signup.username_taken'
  | 'signup.password_too_short'
  | 'signup.password_too_long'
  /** Easy to guess, or known from leaks. */
  | 'signup.password_weak';

type LoginCode =
  /** Unknown user or wrong password; which of them is not said. */
  | 'login.wrong_credentials'
  | 'login.second_factor_required'
  | 'login.second_factor_wrong'
  /** No password, no refresh token and no ID token was shown. */
  | 'login.credential_missing'
  /** Too many failed attempts; `details.retryAfterSeconds` says how long to wait. */
  | 'login.limited'
  /** More passwords wait to be hashed than the service takes. */
  | 'login.busy'
  | 'login.hashing_failed'
  | 'login.token_missing'
  | 'login.token_invalid'
  | 'login.refresh_invalid'
  /** A refresh token that was used before: the session is ended. */
  | 'login.refresh_reused'
  /** Another call of the same session is using the refresh token. */
  | 'login.refresh_raced'
  | 'login.session_ended'
  /** The account is revoked. */
  | 'login.revoked'
  | 'login.nonce'
  /** The login was sent before. */
  | 'login.nonce_used'
  | 'login.csr'
  /** The certificate request is not signed together with the nonce. */
  | 'login.proof'
  | 'login.evidence_missing'
  /** The login service refuses the enclave's evidence; `details.refusal` says why. */
  | 'login.evidence_refused'
  | 'login.enclave_unavailable'
  | 'login.enclave_timeout'
  | 'login.enclave_image'
  | 'login.enclave_crashes'
  | 'login.enclave_refused'
  | 'login.no_node'
  | 'login.no_volume'
  | 'login.quota';

type AccountCode =
  | 'account.login_not_fresh'
  | 'account.no_password'
  /** Another call changed the password meanwhile. */
  | 'account.password_raced'
  /** The second factor was removed, or set up anew, meanwhile. */
  | 'account.second_factor_raced'
  | 'account.second_factor_enabled'
  | 'account.second_factor_disabled'
  | 'account.second_factor_not_begun'
  | 'account.second_factor_unavailable'
  | 'session.not_found';

type IdentityCode =
  /** The service takes no logins by OpenID Connect. */
  | 'oidc.off'
  | 'oidc.token_invalid'
  | 'oidc.token_used'
  | 'oidc.unknown_user'
  | 'oidc.other_username'
  | 'oidc.already_bound'
  | 'oidc.not_bound';

type LicenceCode =
  | 'licence.required'
  | 'licence.unknown'
  | 'licence.revoked'
  | 'licence.full'
  /** For another image than the enclave's. */
  | 'licence.image'
  | 'licence.not_held'
  | 'licence.limited';

type SeatCode =
  | 'seat.none_free'
  /** The client's own word for a seat that it can't get or keep at this moment. */
  | 'seat.unavailable'
  | 'seat.not_found'
  | 'seat.proof'
  /** The login service refuses the session's evidence; `details.refusal` says why. */
  | 'seat.evidence_refused'
  | 'seat.heartbeat'
  | 'seat.heartbeat_old'
  | 'seat.freed'
  /** The enclave's word that the seat's connection is closed is none. */
  | 'seat.closing'
  | 'seat.lapsed'
  | 'seat.other_session';

type OwnEnclaveCode =
  | 'enclave.name'
  | 'enclave.not_found'
  | 'enclave.limit'
  /** All users together have as many enclaves as the installation takes. */
  | 'enclave.installation_full'
  | 'enclave.being_deleted'
  | 'enclave.state_unknown'
  | 'enclave.not_stopped'
  | 'enclave.not_deleted';

type AuditCode =
  /** The log is not as long as the size that is asked about. */
  'audit.size' | 'audit.not_included' | 'audit.key_unknown' | 'audit.tree_damaged';

/** For clients of the signup and login services: accounts, sessions, licences, seats, enclaves, the audit log. */
export type ServiceCode =
  | SignupCode
  | LoginCode
  | AccountCode
  | IdentityCode
  | LicenceCode
  | SeatCode
  | OwnEnclaveCode
  | AuditCode
  /** The database doesn't answer. */
  | 'store.unavailable';
