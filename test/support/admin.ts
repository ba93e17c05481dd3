import { Metadata } from '@grpc/grpc-js';
import type { MethodDefinition } from '@grpc/grpc-js';
import { ADMIN_PROOF_KEY } from '../../attestation/tokens/admin-proof';
import { AdminServiceService } from '../../proto/gen/licensing/v1/admin';
import { signAdminProof } from '../../client/cli/admin/proof';
import type { CertifiedKey } from '../../runtime/keys/key-pair';

export type AdminMethod = keyof typeof AdminServiceService;

export interface ProofOptions {
  trustDomain?: string;
  now?: Date;
  /** Sign for another one than is called. */
  method?: AdminMethod;
}

/** Metadata with an administrator's proof for one call. */
export async function proofFor(
  administrator: CertifiedKey,
  method: AdminMethod,
  request: unknown,
  options: ProofOptions = {},
): Promise<Metadata> {
  const called = AdminServiceService[method] as MethodDefinition<unknown, unknown>;
  const call = {
    method: AdminServiceService[options.method ?? method].path,
    request: called.requestSerialize(request),
  };
  const metadata = new Metadata();
  metadata.set(
    ADMIN_PROOF_KEY,
    await signAdminProof(administrator, call, { trustDomain: options.trustDomain ?? 'sls.test', now: options.now }),
  );
  return metadata;
}
