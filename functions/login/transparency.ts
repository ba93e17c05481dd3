import type { AuditLog } from '../../licensing/audit/log';
import { unary } from '../../runtime/rpc/handlers';
import type { TransparencyServiceServer } from '../../proto/gen/licensing/v1/transparency';
import type { Implementation } from '../../runtime/rpc/handlers';

/** TransparencyService: anyone may ask. */
export function transparencyService(log: AuditLog): Implementation<TransparencyServiceServer> {
  return {
    getTreeHead: unary(async ({ atLeast }) => ({ head: (await log.head(Number(atLeast))).signed })),
    getInclusionProof: unary(async ({ leafSha256, size }) => {
      const { sequence, path } = await log.inclusion(leafSha256, Number(size));
      return { sequence: BigInt(sequence), path };
    }),
    getConsistencyProof: unary(async ({ first, second }) => ({
      path: await log.consistency(Number(first), Number(second)),
    })),
  };
}
