import type { TrustBundle } from '../../attestation/trust/bundle';
import type { LoginOptions } from '../index';
import { LogMemory } from './log-memory';
import type { Output } from './output';

/**
 * For `onReceipt` of the library: keeps what the audit log has of a login, for `sls audit check`.
 * @param trust as it is when the receipt comes
 */
export function keepReceipt(trust: () => TrustBundle, out: Output): NonNullable<LoginOptions['onReceipt']> {
  return async (receipt) => {
    if (receipt === undefined) {
      if (trust().logKeys)
        out.warning(
          "the service gave no receipt for this login, so sls audit check won't look for it; this is expected while the service is being updated",
        );
      return;
    }
    try {
      await (await LogMemory.of(trust())).keepLogin(receipt);
    } catch (error) {
      // Nothing is wrong with the login.
      out.warning(
        `the receipt for this login can't be saved, so sls audit check won't look for it: ${(error as Error).message}`,
      );
    }
  };
}
