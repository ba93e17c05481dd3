import type { CallOptions, Metadata, ClientUnaryCall, ServiceError } from '@grpc/grpc-js';
import { fromServiceError } from './errors';
import { TracedCall } from './trace';
import { systemClock } from '../clock';

type UnaryMethod<Request, Response> = (
  request: Request,
  metadata: Metadata,
  options: Partial<CallOptions>,
  callback: (error: ServiceError | null, response: Response) => void,
) => ClientUnaryCall;

interface UnaryOptions {
  /** Milliseconds until the call fails with DEADLINE_EXCEEDED. */
  timeout: number;
  metadata?: Metadata;
  signal?: AbortSignal;
}

/**
 * Calls a unary method of a generated client: `callUnary(client, client.signUp, request, { timeout: 10_000 })`.
 * @throws RpcError with the server's stable code.
 */
export function callUnary<Request, Response>(
  client: object,
  method: UnaryMethod<Request, Response>,
  request: Request,
  { timeout, metadata, signal }: UnaryOptions,
): Promise<Response> {
  // Methods of generated clients have their definition's path.
  const traced = new TracedCall((method as { path?: string }).path ?? method.name, metadata);
  return new Promise((resolve, reject) => {
    const call = method.call(
      client,
      request,
      traced.metadata,
      { deadline: systemClock.now() + timeout },
      (error, response) => {
        signal?.removeEventListener('abort', cancel);
        if (error) reject(fromServiceError(error));
        else resolve(response);
      },
    );
    traced.follow(call);
    const cancel = (): void => call.cancel();
    if (signal?.aborted) cancel();
    else signal?.addEventListener('abort', cancel, { once: true });
  });
}
