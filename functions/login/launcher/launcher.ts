import type { LoginStage } from '../../../proto/gen/licensing/v1/login';

/** A user's enclave that runs, by the word of whatever started it. Nothing of it is trusted before its evidence is verified. */
export interface Enclave {
  /** Pod UID in a cluster; the process's UID on one machine. Empty where only the evidence tells. */
  workloadUid: string;
  /** Empty where only the evidence tells. */
  node: string;
  /** Address of EnclaveService: http://HOST:PORT. */
  endpoint: string;
  /** The same where the login service itself reaches it, if that is another address. */
  innerEndpoint?: string;
  /** HOST:PORT of the enclave's own TLS; empty where TLS runs inside EnclaveService.Tunnel. */
  tlsAddress: string;
  /** False: it was running already. */
  started: boolean;
}

export interface LaunchOptions {
  /** Told as the launch goes on, in the order of LoginStage; a stage may be left out. */
  onStage(stage: LoginStage): void;
  /** Ends the wait. The enclave may go on starting: the next login finds it. */
  signal: AbortSignal;
}

/** Starts enclaves: as processes on one machine, as Knative Services in a cluster. */
export interface Launcher {
  /**
   * Starts the user's enclave unless it runs. Two calls for one user at once give one enclave.
   * @param user opaque id of an account
   * @throws RpcError UNAVAILABLE `login.enclave_unavailable` with a reason that the user may read
   */
  ensure(user: string, options: LaunchOptions): Promise<Enclave>;
  /** Ends the user's enclave when it is still the given one: it doesn't answer, or it lost its identity. */
  discard(user: string, enclave: Enclave): Promise<void>;
}
