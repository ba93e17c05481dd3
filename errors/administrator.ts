/** No administrator is shown to have made the call. */
export type AdministratorProofCode =
  | 'admin.proof_missing'
  | 'admin.proof_malformed'
  | 'admin.proof_type'
  | 'admin.certificate'
  | 'admin.proof_signature'
  | 'admin.proof_audience'
  | 'admin.proof_method'
  | 'admin.proof_request'
  | 'admin.proof_time'
  | 'admin.proof_replayed';

/** For administrators: what the admin service refuses. */
export type AdministratorCode =
  | AdministratorProofCode
  | 'admin.reason'
  | 'admin.sha256'
  | 'admin.subject'
  | 'admin.node_name'
  | 'admin.user_id'
  | 'admin.no_such_user'
  | 'admin.enclave_not_ended'
  | 'admin.orphans_changed'
  | 'admin.licence_id'
  | 'admin.licence_until'
  | 'admin.licence_grace'
  | 'admin.licence_accounts'
  | 'admin.licence_plan'
  | 'admin.licence_page'
  | 'admin.licence_keys_missing'
  | 'admin.no_such_licence';
