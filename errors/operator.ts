/** What the attestor's TPM answers, or doesn't. */
export type TpmCommandCode =
  /** No TPM answers: it is away, or there is none. */
  | 'tpm.unavailable'
  /** There is one, and this user may not open it. */
  | 'tpm.no_rights'
  /** It took longer than any TPM needs. */
  | 'tpm.timeout'
  /** The hierarchy has a password, and the setting for it is missing or holds another. */
  | 'tpm.owner_auth'
  | 'tpm.endorsement_auth'
  /** Too many wrong authorizations, whoever gave them. */
  | 'tpm.locked_out'
  /** The PCRs that are quoted are not all in an active SHA-256 bank. */
  | 'tpm.no_sha256_bank'
  /** The attestation key isn't in the TPM any more, or doesn't take its authorization. */
  | 'tpm.key_lost'
  /** Another key, no attestation key, stands at the handle. */
  | 'tpm.handle_in_use'
  /** PCR 23 was changed by somebody else between, each time that it was tried. */
  | 'tpm.pcr_disturbed'
  /** The TPM refused a command; `responseCode` says why. */
  | 'tpm.failed'
  /** tpm2-tools aren't installed. */
  | 'tpm.tools_missing';

export type SwtpmCode = `swtpm.${'missing' | 'socket_path' | 'setup_failed' | 'in_use' | 'start_failed'}`;

export type LauncherCode = `launcher.${
  | 'database'
  | 'folder'
  | 'folder_moved'
  | 'in_use'
  | 'isolation'
  | 'not_built'
  | 'path_too_long'
  | 'start_failed'
  | 'stopped'}`;

export type KeyStoreCode =
  `keystore.${'missing' | 'malformed' | 'edited' | 'unsettled' | 'unreachable' | 'key_lost' | 'trust_key_away'}`;

export type BackupCode = `backup.${'database_in_use' | 'identity' | 'malformed' | 'newer' | 'schema' | 'changes'}`;

/** For the login service on one machine: what its launcher, which starts enclaves there, refuses. */
export type MachineCode = 'launcher.enclave_failed' | 'launcher.user_id';

/** For operators: why a program, an installer or `sls up` doesn't run. */
export type OperatorCode =
  | TpmCommandCode
  | SwtpmCode
  | LauncherCode
  | KeyStoreCode
  | BackupCode
  /** A setting is missing or malformed. */
  | 'config.invalid'
  | 'installation.invalid'
  | 'kubernetes.refused'
  | 'kubernetes.kubectl'
  /** A part of the installation was not ready in time. */
  | 'install.not_ready'
  | 'second_factor.keys_invalid'
  | 'token.keys_invalid'
  /** The database holds another text under a migration's name. */
  | 'store.migration_changed'
  /** The database is of another installation than the objects beside it. */
  | 'store.another_installation'
  /** A program's role in the database is missing, or may do something else than its program needs. */
  | 'store.roles'
  | InternalCode;

/** Nobody's outside one program: a sign from one part of it to another. */
type InternalCode =
  | 'internal.child_not_ready'
  | 'internal.enclave_start'
  | 'internal.identity_changed'
  | 'internal.password_hash_changed';
