import { Metadata, status } from '@grpc/grpc-js';
import type { ServiceError, StatusObject } from '@grpc/grpc-js';

/** Trailing metadata that carries the stable code of a refusal. */
export const REASON_KEY = 'sls-reason';

/**
 * A refusal that the caller may read. `code` is stable (`login.wrong_credentials`), `grpcStatus` is the canonical status.
 * Anything else that a handler throws reaches the caller as INTERNAL without its text.
 */
export class RpcError extends Error {
  override readonly name = 'RpcError';

  constructor(
    readonly code: string,
    readonly grpcStatus: status,
    message: string,
    options?: ErrorOptions,
  ) {
    super(message, options);
  }
}

/** What crosses the wire for an error: its code and message when it is meant for the caller, neither otherwise. */
export function toStatus(error: unknown): Partial<StatusObject> & { code: status; details: string } {
  const metadata = new Metadata();
  if (error instanceof RpcError) {
    metadata.set(REASON_KEY, error.code);
    return { code: error.grpcStatus, details: error.message, metadata };
  }
  metadata.set(REASON_KEY, 'internal');
  return { code: status.INTERNAL, details: 'internal error', metadata };
}

/** Turns what grpc-js reports on the calling side into an RpcError with the server's stable code. */
export function fromServiceError(error: ServiceError): RpcError {
  const reason = error.metadata?.get(REASON_KEY)[0];
  const code = typeof reason === 'string' ? reason : `rpc.${(status[error.code] ?? 'unknown').toLowerCase()}`;
  return new RpcError(code, error.code, error.details || error.message, { cause: error });
}

/** True for errors that grpc-js made from a status. */
export function isServiceError(error: unknown): error is ServiceError {
  return error instanceof Error && 'code' in error && typeof error.code === 'number' && 'details' in error;
}
