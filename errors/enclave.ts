/** For who works in an enclave: what it refuses, or can't do. */
export type EnclaveCode =
  | 'enclave.nonce'
  | 'enclave.proof'
  /** The client certificate is another user's. */
  | 'enclave.other_user'
  /** More tunnels than a connection may carry. */
  | 'enclave.tunnels'
  | 'enclave.attestor_unavailable'
  | 'enclave.identity_refused'
  /** It was stopped or deleted under a command. */
  | 'enclave.stopped'
  | 'session.nonce'
  /** The first call of a connection has to be Attest. */
  | 'session.not_attested'
  /** CloseSession was the last call of the connection. */
  | 'session.closed'
  | 'seat.required'
  | 'seat.lapsed'
  | 'seat.other_user'
  | 'seat.other_workload'
  | 'seat.other_session'
  | 'exec.argv'
  | 'exec.env'
  | 'exec.stream'
  | 'exec.signal'
  | 'exec.not_found'
  | 'exec.not_executable'
  | 'exec.failed'
  /** The call ended without an exit status. */
  | 'exec.no_exit'
  | 'file.path'
  | 'file.not_found'
  | 'file.is_folder'
  | 'file.not_regular'
  | 'file.denied'
  | 'file.no_space'
  | 'file.changed'
  | 'file.stream'
  /** Not the enclave's own: a forwarded connection goes to its loopback, or to a socket in its workspace. */
  | 'forward.address'
  /** Nothing listens there. */
  | 'forward.refused'
  | 'forward.unreachable'
  /** A connection to a port was cut by the program behind it. */
  | 'forward.reset'
  | 'forward.too_many'
  | 'forward.stream';
