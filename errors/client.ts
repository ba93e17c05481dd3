/** A login at the OpenID provider by device code (RFC 8628). */
export type DeviceLoginCode =
  /** The user said no, or the provider did. */
  | 'oidc.denied'
  /** Nobody came with the code in time. */
  | 'oidc.code_expired'
  /** The provider offers no device codes. */
  | 'oidc.no_device_codes'
  /** The provider refuses the service as its client: the operator's to put right. */
  | 'oidc.client_refused';

export type OidcProviderCode =
  /** Can't be reached, answers too late, or says that it can't answer. */
  | 'oidc.provider_unavailable'
  /** What it says is not what an OpenID provider says, or too much. */
  | 'oidc.provider_invalid';

/** A login as the service answered it is not one; or nothing is left to log in again with. */
export type LoginResultCode = 'login.no_result' | 'login.wrong_certificate' | 'login.session_over';

/** Worth another try. */
export type UnreachableCode =
  /** The enclave can't be reached, or not any more. */
  | 'connection.failed'
  | 'connection.closed'
  | 'connection.timeout'
  /** A service of the installation takes no connection, or gives no answer. */
  | 'service.unreachable';

/** For users of `client/`: what their own side says, beside what the services and the verification refuse. */
export type ClientCode =
  | DeviceLoginCode
  | OidcProviderCode
  | LoginResultCode
  | UnreachableCode
  /** A password or a token would be sent to a host of the network without TLS. */
  | 'client.plaintext_refused'
  | CommandLineCode;

/** Of `sls` alone. */
type CommandLineCode =
  /** Anything that has no code of its own. */
  | 'sls.failed'
  /** The command line itself is wrong. */
  | 'sls.usage'
  /** A file of what this machine keeps is damaged, can't be read, or can't be written. */
  | 'state.damaged'
  | 'state.unreadable'
  | 'state.unwritable'
  | 'log.none'
  | 'log.memory_damaged'
  | 'trust.not_confirmed'
  | 'trust.unknown_key'
  | 'trust.memory_damaged'
  /** A saved session was with an installation that is not the one which is trusted now. */
  | 'session.other_installation';
