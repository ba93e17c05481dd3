import { Metadata } from '@grpc/grpc-js';
import type { CallOptions, ClientUnaryCall, ServiceError } from '@grpc/grpc-js';
import { fromServiceError } from './errors';

type UnaryMethod<Request, Response> = (
  request: Request,
  metadata: Metadata,
  options: Partial<CallOptions>,
  callback: (error: ServiceError | null, response: Response) => void,
) => ClientUnaryCall;

export interface UnaryOptions {
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
  { timeout, metadata = new Metadata(), signal }: UnaryOptions,
): Promise<Response> {
  return new Promise((resolve, reject) => {
    const call = method.call(client, request, metadata, { deadline: Date.now() + timeout }, (error, response) => {
      signal?.removeEventListener('abort', cancel);
      if (error) reject(fromServiceError(error));
      else resolve(response);
    });
    const cancel = (): void => call.cancel();
    if (signal?.aborted) cancel();
    else signal?.addEventListener('abort', cancel, { once: true });
  });
}
