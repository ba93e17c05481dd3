/** What the Kubernetes API refused. `status` is HTTP's, `reason` the machine-readable word of its Status object, such as AlreadyExists. */
export class KubernetesError extends Error {
  override readonly name = 'KubernetesError';
  readonly code = 'kubernetes.refused';

  constructor(
    readonly status: number,
    readonly reason: string,
    message: string,
  ) {
    super(`${status} ${reason}: ${message}`);
  }
}
