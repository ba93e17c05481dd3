import { status } from '@grpc/grpc-js';
import { RpcError } from '../../runtime/rpc/errors';

const SHA256 = /^[0-9a-f]{64}$/;
const MAX_REASON = 1000;

/** @throws RpcError INVALID_ARGUMENT admin.sha256 */
export function requireSha256(text: string): string {
  if (SHA256.test(text)) return text;
  throw new RpcError(
    'admin.sha256',
    status.INVALID_ARGUMENT,
    'expected a SHA-256 of 64 hexadecimal digits in lower case, got something else',
  );
}

/** Every decision says why: the record is for whoever asks later. @throws RpcError INVALID_ARGUMENT admin.reason */
export function requireReason(text: string): string {
  const reason = text.trim();
  if (reason !== '' && reason.length <= MAX_REASON) return reason;
  throw new RpcError('admin.reason', status.INVALID_ARGUMENT, `expected a reason of 1 to ${MAX_REASON} characters`);
}
