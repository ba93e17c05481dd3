import { status } from '@grpc/grpc-js';
import { DEFAULT_ENCLAVE, isEnclaveName } from '../../attestation/evidence/enclave-name';
import { RpcError } from '../../runtime/rpc/errors';

export { DEFAULT_ENCLAVE };

/** Which enclave: whose, and which of theirs. */
export interface EnclaveId {
  /** Opaque id of an account. */
  user: string;
  /** A DNS label. */
  name: string;
}

/** One text for one enclave: user ids are UUIDs and names are DNS labels, and neither has the character between. */
export function enclaveKey({ user, name }: EnclaveId): string {
  return `${user}/${name}`;
}

/** The name that a request means; none is the default one. @throws RpcError INVALID_ARGUMENT `enclave.name` */
export function requireEnclaveName(text: string): string {
  if (text === '') return DEFAULT_ENCLAVE;
  if (isEnclaveName(text)) return text;
  throw new RpcError(
    'enclave.name',
    status.INVALID_ARGUMENT,
    `expected an enclave's name of 1 to 63 small letters, digits and hyphens, none of these at an end, got ${JSON.stringify(text.slice(0, 80))}`,
  );
}
