import { status } from '@grpc/grpc-js';
import { RpcError } from './errors';
import type { WireCode } from '../../errors/codes';

/**
 * Refuses a field of another length. Where bytes come in over a boundary of trust this is said once, and no function behind it asks again.
 * @param what the field in words, such as `a nonce`
 * @throws RpcError INVALID_ARGUMENT with `code`
 */
export function requireLength(code: WireCode, what: string, value: Uint8Array, bytes: number): void {
  if (value.length === bytes) return;
  throw new RpcError(code, status.INVALID_ARGUMENT, `expected ${what} of ${bytes} bytes, got ${value.length}`);
}
