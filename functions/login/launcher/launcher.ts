import type { LoginStage } from '../../../proto/gen/licensing/v1/login';
import type { EnclaveId } from '../../../attestation/evidence/enclave-name';

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

/** What a user's licence says about their enclaves. What is absent is for the operator to say. */
export interface EnclavePlan {
  /** Kubernetes quantities. */
  cpu?: string;
  memory?: string;
}

export interface LaunchOptions {
  /** A launcher that can't hold an enclave to it, as the one of processes, leaves it. */
  plan?: EnclavePlan;
  /** Told as the launch goes on, in the order of LoginStage; a stage may be left out. */
  onStage(stage: LoginStage): void;
  /** Ends the wait. The enclave may go on starting: the next login finds it. */
  signal: AbortSignal;
}

/** What an enclave does, where it is not at zero. */
export interface Running {
  /** False: it is starting. */
  serves: boolean;
  /** Empty before it has one. */
  node: string;
}

/** Starts enclaves, finds them and ends them: processes on one machine, Knative Services in a cluster. Of one user there may be several, by name. */
export interface Launcher {
  /** Digest (sha256:HEX) of what its enclaves run, where that is known before one does. */
  readonly image?: string;
  /** True where an enclave's files outlive its process. */
  readonly persistent: boolean;
  /**
   * Starts the enclave unless it runs. Two calls for one at once give one.
   * @throws RpcError UNAVAILABLE `login.enclave_unavailable` with a reason that the user may read
   */
  ensure(enclave: EnclaveId, options: LaunchOptions): Promise<Enclave>;
  /** Ends the enclave when it is still the given one: it doesn't answer, or it lost its identity. */
  discard(enclave: EnclaveId, found: Enclave): Promise<void>;
  /** Which of these are not at zero. */
  find(user: string, names: string[]): Promise<Map<string, Running>>;
  /** Ends what runs, now. Files stay where they are kept; the next `ensure` starts it again. */
  stop(enclave: EnclaveId): Promise<void>;
  /** Ends it and removes everything that it is made of, files included. That there is nothing is no error. */
  remove(enclave: EnclaveId): Promise<void>;
  /** As `remove`, for every enclave that is marked as this user's. */
  removeAll(user: string): Promise<void>;
}
