import { Metadata, status } from '@grpc/grpc-js';
import type { ServiceError, StatusObject } from '@grpc/grpc-js';
import { CodedError } from '../../errors/coded-error';
import type { WireCode } from '../../errors/codes';
import { readDetails, writeDetails } from './error-details';
import type { ErrorDetails } from './error-details';

/** Trailing metadata that carries the stable code of a refusal. */
export const REASON_KEY = 'sls-reason';

/**
 * A refusal that the caller may read. `code` is stable (`login.wrong_credentials`), `grpcStatus` is the canonical status, `details` is what
 * programs may want to know beside the code. Anything else that a handler throws reaches the caller as INTERNAL without its text.
 */
export class RpcError extends CodedError<WireCode> {
  override readonly name = 'RpcError';
  readonly details: ErrorDetails;

  constructor(
    code: WireCode,
    readonly grpcStatus: status,
    message: string,
    { details = {}, ...options }: ErrorOptions & { details?: ErrorDetails } = {},
  ) {
    super(code, message, options);
    this.details = details;
  }
}

/** What crosses the wire for an error: its code, details and message when it is meant for the caller, none of them otherwise. */
export function toStatus(error: unknown): Partial<StatusObject> & { code: status; details: string } {
  const metadata = new Metadata();
  if (error instanceof RpcError) {
    metadata.set(REASON_KEY, error.code);
    writeDetails(metadata, error.details);
    return { code: error.grpcStatus, details: error.message, metadata };
  }
  metadata.set(REASON_KEY, 'internal');
  return { code: status.INTERNAL, details: 'internal error', metadata };
}

/**
 * Turns what grpc-js reports on the calling side into an RpcError with the server's stable code and details. A code that only a later release
 * of the server knows is kept as it came: whoever looks codes up needs an answer for those by the gRPC status.
 */
export function fromServiceError(error: ServiceError): RpcError {
  const { metadata } = error as Partial<ServiceError>;
  const reason = metadata?.get(REASON_KEY)[0];
  const code = typeof reason === 'string' ? reason : codeOf(error);
  return new RpcError(code as WireCode, error.code, error.details || error.message, {
    cause: error,
    details: readDetails(metadata),
  });
}

/** Of a refusal that no code of ours came with: grpc-js itself refuses what is larger than any request of a server. */
function codeOf({ code, details }: ServiceError): string {
  if (code === status.RESOURCE_EXHAUSTED && /larger than max/i.test(details ?? '')) return 'rpc.too_large';
  return `rpc.${(status[code] ?? 'unknown').toLowerCase()}`;
}

/** True for errors that grpc-js made from a status. */
export function isServiceError(error: unknown): error is ServiceError {
  return error instanceof Error && 'code' in error && typeof error.code === 'number' && 'details' in error;
}
