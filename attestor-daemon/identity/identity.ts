/** Who asks for evidence. Everything that the attestor says about a workload comes from here, never from a request. */
export interface Workload {
  /** Opaque id of the user whom the workload serves. */
  user: string;
  /** Name of the enclave among its user's; left out: the default one. */
  enclave?: string;
  /** Pod UID in a cluster, the process's UID on one machine. */
  workloadUid: string;
  /** Which start of it this is: the container's ID in a cluster; left out where each start has a UID of its own. */
  start?: string;
  /** The pod's name in a cluster. */
  name?: string;
  /** sha256:HEX of the image that runs. */
  imageDigest: string;
  /** Where it runs: the attestor vouches for its own node only. */
  node: string;
  /** Unix seconds; the workload's stream is ended then. */
  expiresAt?: number;
}

/** One start of a workload, by what is kept of it. Empty strings where it has none. */
export type WorkloadStart = Required<Pick<Workload, 'workloadUid' | 'start' | 'name'>>;

/** Turns the credential that opens a stream into the workload that holds it. */
export interface WorkloadIdentifier {
  /** @throws RpcError UNAUTHENTICATED (no such credential) or PERMISSION_DENIED (a good one, of a workload that gets nothing here). */
  identify(credential: string): Promise<Workload>;
  /**
   * True when no credential can make this start of the workload known again.
   * @param unseenMs how long it has had no stream
   * @throws where that can't be known now
   */
  isGone(start: WorkloadStart, unseenMs: number): Promise<boolean>;
}
