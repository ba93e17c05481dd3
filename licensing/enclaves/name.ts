import { status } from '@grpc/grpc-js';
import { DEFAULT_ENCLAVE, ENCLAVE_NAME_RULE, isEnclaveName } from '../../attestation/evidence/enclave-name';
import { RpcError } from '../../runtime/rpc/errors';

/** The name that a request means; none is the default one. @throws RpcError INVALID_ARGUMENT `enclave.name` */
export function requireEnclaveName(text: string): string {
  if (text === '') return DEFAULT_ENCLAVE;
  if (isEnclaveName(text)) return text;
  throw new RpcError(
    'enclave.name',
    status.INVALID_ARGUMENT,
    `expected ${ENCLAVE_NAME_RULE}, got ${JSON.stringify(text.slice(0, 80))}`,
  );
}
