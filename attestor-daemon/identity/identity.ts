/** Who asks for evidence. Everything that the attestor says about a workload comes from here, never from a request. */
export interface Workload {
  /** Opaque id of the user whom the workload serves. */
  user: string;
  /** Name of the enclave among its user's; left out: the default one. */
  enclave?: string;
  /** Pod UID in a cluster, the process's UID on one machine. */
  workloadUid: string;
  /** The pod's name in a cluster. */
  name?: string;
  /** sha256:HEX of the image that runs. */
  imageDigest: string;
  /** Where it runs: the attestor vouches for its own node only. */
  node: string;
  /** Unix seconds; the workload's stream is ended then. */
  expiresAt?: number;
}

/** What is kept of a workload. An empty name where it has none. */
export type KnownWorkload = Required<Pick<Workload, 'workloadUid' | 'name'>>;

/** Turns the credential that opens a stream into the workload that holds it. */
export interface WorkloadIdentifier {
  /** @throws RpcError UNAUTHENTICATED (no such credential) or PERMISSION_DENIED (a good one, of a workload that gets nothing here). */
  identify(credential: string): Promise<Workload>;
  /**
   * True when no credential can make the workload known again.
   * @param unseenMs how long it has had no stream
   * @throws where that can't be known now
   */
  isGone(workload: KnownWorkload, unseenMs: number): Promise<boolean>;
}
