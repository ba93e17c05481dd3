import { CodedError } from '../../errors/coded-error';

/** What the Kubernetes API refused. `status` is HTTP's, `reason` the machine-readable word of its Status object, such as AlreadyExists. */
export class KubernetesError extends CodedError<'kubernetes.refused'> {
  override readonly name = 'KubernetesError';

  constructor(
    readonly status: number,
    readonly reason: string,
    message: string,
  ) {
    super('kubernetes.refused', `${status} ${reason}: ${message}`);
  }
}
